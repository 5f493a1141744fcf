import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { Agent, request } from "undici";
import { parse } from "yaml";
import { isAlive } from "../../lab/process-table.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import { startTestApiServer, type TestApiServer } from "../support/api-server.ts";

interface Answer {
  readonly status: number;
  readonly body: { readonly status?: { readonly token?: string; readonly authenticated?: boolean } };
}

/** Speaks to the server as the holder of its kubeconfig, or with a bearer token instead. */
async function ask(server: TestApiServer, method: "GET" | "POST", path: string, body?: object, token?: string): Promise<Answer> {
  const config = parse(await readFile(server.kubeconfig, "utf8")) as {
    readonly users: readonly [{ readonly user: { readonly "client-certificate-data": string; readonly "client-key-data": string } }];
  };
  const user = config.users[0].user;
  const decode = (text: string): Buffer => Buffer.from(text, "base64");
  const client = { cert: decode(user["client-certificate-data"]), key: decode(user["client-key-data"]) };
  const dispatcher = new Agent({ connect: { ca: server.ca.certificate, ...(token === undefined ? client : {}) } });
  try {
    const answer = await request(`${server.url}${path}`, {
      dispatcher,
      method,
      headers: {
        "content-type": "application/json",
        "user-agent": "squall-lab-test",
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      body: body === undefined ? null : JSON.stringify(body),
    });
    return { status: answer.statusCode, body: (await answer.body.json()) as Answer["body"] };
  } finally {
    await dispatcher.close();
  }
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

describe("the API server for tests", function () {
  this.timeout(60_000);
  let server: TestApiServer;
  before(async () => {
    server = await startTestApiServer();
  });
  after(async () => {
    await server.close();
  });

  it("serves objects to the holder of its kubeconfig", async () => {
    const answer = await ask(server, "GET", "/api/v1/namespaces/kube-system");
    assert.equal(answer.status, 200);
  });

  it("issues service account tokens, and RBAC refuses what nobody granted them", async () => {
    const account = { metadata: { name: "nobody" } };
    assert.equal((await ask(server, "POST", "/api/v1/namespaces/default/serviceaccounts", account)).status, 201);
    const review = await ask(server, "POST", "/api/v1/namespaces/default/serviceaccounts/nobody/token", { spec: { audiences: [] } });
    const token = review.body.status?.token;
    assert.ok(token);
    assert.equal((await ask(server, "GET", "/api/v1/namespaces/kube-system/secrets", undefined, token)).status, 403);
  });

  it("logs each request with its user agent before it answers", async () => {
    await ask(server, "GET", "/api/v1/namespaces/default/configmaps/never-made");
    const lines = (await readFile(server.auditLog, "utf8")).trim().split("\n");
    const events = lines.map((line) => JSON.parse(line) as { requestURI: string; stage: string; userAgent: string });
    const mine = events.filter((event) => event.requestURI.endsWith("/never-made"));
    assert.deepEqual(
      mine.map(({ stage, userAgent }) => `${stage} ${userAgent}`),
      ["RequestReceived squall-lab-test", "ResponseComplete squall-lab-test"],
    );
  });

  it("leaves no process and no folder after close, however often it is called", async () => {
    const own = await startTestApiServer();
    await own.close();
    await own.close();
    assert.deepEqual(await Promise.all(own.pids.map(isAlive)), [false, false]);
    assert.equal(await exists(dirname(own.kubeconfig)), false);
  });

  it("does not outlive a process that is killed, and the next start removes its folder", async () => {
    const script = `
      import { startTestApiServer } from "./test/support/api-server.ts";
      const { pids, kubeconfig } = await startTestApiServer();
      console.log(JSON.stringify({ pids, kubeconfig }));
      setInterval(() => {}, 1000);`;
    const root = join(import.meta.dirname, "../..");
    const child = spawn(process.execPath, ["--input-type=module-typescript", "--eval", script], {
      cwd: root,
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(createInterface(child.stdout), "line")) as [string];
    const { pids, kubeconfig } = JSON.parse(line) as { pids: readonly number[]; kubeconfig: string };
    child.kill("SIGKILL");
    const areGone = async (): Promise<boolean> => (await Promise.all(pids.map(isAlive))).every((alive) => !alive);
    await waitUntil("The processes live on", areGone, { timeoutMs: 5000 });
    assert.equal(await exists(kubeconfig), true);
    await (await startTestApiServer()).close();
    assert.equal(await exists(kubeconfig), false);
  });
});

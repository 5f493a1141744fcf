import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { isKubeError } from "../../kube/errors.ts";
import { configMaps } from "../../kube/resources.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";

const ref = { namespace: "shop", name: "settings" };
const object = (name: string) => ({
  metadata: { name, namespace: "shop", uid: "u", resourceVersion: "1", creationTimestamp: "" },
  data: {},
});

/** What the API server cannot be made to do on demand, done by a plain HTTP server on loopback. */
describe("connectKube", () => {
  let folder: string;
  let server: Server;
  let kube: KubeConnection;
  let clock: FakeClock;
  let requests: string[];
  let respond: (request: IncomingMessage, response: ServerResponse) => void;

  beforeEach(async () => {
    requests = [];
    server = createServer((request, response) => {
      requests.push(`${request.method} ${request.url} ${request.headers.authorization ?? "nobody"}`);
      respond(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    folder = mkdtempSync(join(tmpdir(), "squall-kube-"));
    clock = new FakeClock();
    kube = connectKube({
      process: "test",
      version: "1",
      kubeconfig: writeConfig("token-1"),
      clock,
      requestTimeoutMs: 10_000,
      watchSilenceMs: 5_000,
    });
  });
  afterEach(async () => {
    await kube.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true });
  });

  function writeConfig(token: string): string {
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const config = {
      clusters: [{ name: "c", cluster: { server: `http://127.0.0.1:${port}/prefix/`, "insecure-skip-tls-verify": true } }],
      users: [{ name: "u", user: { token } }],
      contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
      "current-context": "x",
    };
    writeFileSync(join(folder, "config"), JSON.stringify(config));
    return join(folder, "config");
  }
  const send = (response: ServerResponse, code: number, body: unknown): void => {
    response.writeHead(code, { "content-type": "application/json" }).end(typeof body === "string" ? body : JSON.stringify(body));
  };

  it("asks under the path of the server, as the person of the kubeconfig", async () => {
    respond = (_, response) => send(response, 200, object("settings"));
    assert.equal((await kube.get(configMaps, { namespace: "shop", name: "a/b c" })).metadata.name, "settings");
    assert.deepEqual(requests, ["GET /prefix/api/v1/namespaces/shop/configmaps/a%2Fb%20c Bearer token-1"]);
  });

  it("reads the credentials again when the server refuses them, once", async () => {
    respond = (request, response) =>
      request.headers.authorization === "Bearer token-2"
        ? send(response, 200, object("settings"))
        : send(response, 401, { reason: "Unauthorized" });
    await assert.rejects(kube.get(configMaps, ref), (error) => isKubeError(error, "unauthorized"));
    assert.equal(requests.length, 2);
    writeConfig("token-2");
    await kube.get(configMaps, ref);
    assert.equal(requests.at(-1), "GET /prefix/api/v1/namespaces/shop/configmaps/settings Bearer token-2");
  });

  it("reads once more over a connection that broke, and never writes twice", async () => {
    respond = (request, response) => (requests.length === 1 ? request.socket.destroy() : send(response, 200, object("settings")));
    await kube.get(configMaps, ref);
    assert.equal(requests.length, 2);
    requests.length = 0;
    respond = (request) => request.socket.destroy();
    await assert.rejects(kube.patch(configMaps, ref, {}, { type: "merge" }), (error) => isKubeError(error, "unavailable"));
    assert.equal(requests.length, 1);
  });

  it("gives up on an answer that does not come", async () => {
    respond = () => undefined;
    const answer = assert.rejects(kube.get(configMaps, ref), (error) => isKubeError(error, "timeout") && /10 s/.test(error.message));
    while (requests.length === 0) await settle();
    await clock.advance(10_000);
    await answer;
  });

  it("gives up on a watch that falls silent, however long the first answer may take", async () => {
    respond = (_, response) => {
      response.writeHead(200);
      response.write(`${JSON.stringify({ type: "ADDED", object: object("one") })}\n`);
    };
    const seen: string[] = [];
    const watching = (async () => {
      for await (const event of kube.watch(configMaps, { resourceVersion: "1" }, new AbortController().signal)) seen.push(event.type);
    })();
    const answer = assert.rejects(watching, (error) => isKubeError(error, "timeout") && /5 s/.test(error.message));
    while (seen.length === 0) await settle();
    await clock.advance(5_000);
    await answer;
  });

  it("puts events together from pieces and reads the error among them", async () => {
    const lines = [
      { type: "ADDED", object: object("größe") },
      { type: "BOOKMARK", object: { metadata: { resourceVersion: "9" } } },
      { type: "ERROR", object: { kind: "Status", code: 410, reason: "Expired" } },
    ];
    respond = (_, response) => {
      const bytes = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
      response.writeHead(200);
      for (let start = 0; start < bytes.length; start += 7) response.write(bytes.subarray(start, start + 7));
      response.end();
    };
    const seen: unknown[] = [];
    const watch = async (): Promise<void> => {
      for await (const event of kube.watch(configMaps, { resourceVersion: "1" }, new AbortController().signal))
        seen.push(event.type === "BOOKMARK" ? event.resourceVersion : event.object.metadata.name);
    };
    await assert.rejects(watch, (error) => isKubeError(error, "gone"));
    assert.deepEqual(seen, ["größe", "9"]);
  });

  it("starts a list again whose pages the server has forgotten", async () => {
    respond = (request, response) => {
      if (requests.length === 2) return send(response, 410, { reason: "Expired" });
      const isFirst = !request.url?.includes("continue");
      send(response, 200, {
        metadata: { resourceVersion: "5", ...(isFirst && { continue: "more" }) },
        items: [object(isFirst ? "one" : "two")],
      });
    };
    const { items, resourceVersion } = await kube.list(configMaps);
    assert.deepEqual([items.map(({ metadata }) => metadata.name), resourceVersion, requests.length], [["one", "two"], "5", 4]);
  });

  for (const [what, body] of [
    ["something other than JSON", "<html>"],
    ["half an object", '{"metadata": {'],
    ["another object", { metadata: {} }],
    ["nothing", ""],
  ] as const)
    it(`throws a KubeError for an answer that is ${what}`, async () => {
      respond = (_, response) => send(response, 200, body);
      await assert.rejects(kube.get(configMaps, ref), (error) => isKubeError(error, "unexpected"));
      await assert.rejects(kube.list(configMaps), (error) => isKubeError(error, "unexpected"));
    });

  it("passes the caller's reason on, and asks nothing for a caller that has left", async () => {
    const reason = new Error("enough");
    await assert.rejects(kube.get(configMaps, ref, AbortSignal.abort(reason)), reason);
    assert.deepEqual(requests, []);
    const end = new AbortController();
    respond = () => end.abort(reason);
    await assert.rejects(kube.get(configMaps, ref, end.signal), reason);
  });

  it("leaves no timer behind", async () => {
    respond = (_, response) => send(response, 200, object("settings"));
    await kube.get(configMaps, ref);
    assert.equal(clock.waiting, 0);
  });

  it("names the contexts where the one asked for is missing", async () => {
    const lost = connectKube({ process: "test", version: "1", kubeconfig: join(folder, "config"), context: "y" });
    await assert.rejects(lost.get(configMaps, ref), /no context "y"\. It has: x\./);
    await lost.close();
  });
});

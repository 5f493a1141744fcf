import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Agent, createServer, request as forward } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import * as z from "zod";
import { renderKubeconfig } from "../../../lab/kubeconfig.ts";
import { createLabAuthority } from "../../../lab/pki.ts";
import type { TestApiServer } from "../../support/api-server.ts";

/** What becomes of one write. */
export type Fate =
  | "pass"
  /** It never arrives. */
  | "lost"
  /** It is made, and the answer never arrives. */
  | "unanswered"
  /** It is made, and the answer takes two seconds. */
  | "slow"
  /** The API server would not do it. */
  | 409
  | 429
  | 500
  | 503;

export interface ApiProxy {
  /** Of a person with all rights, through the proxy. */
  readonly kubeconfig: string;
  /** Decides over each write; all pass by default. */
  onWrite: (method: string, path: string) => Fate;
  /** Called when a write has been made, before its answer goes back. */
  onWritten: (method: string, path: string) => void;
  /** Holds back what watches say until `releaseWatches`. */
  holdWatches(): void;
  releaseWatches(): void;
  /** Throws away what the open watches say from now on. */
  blindWatches(): void;
  /** Breaks every watch in the middle. What happens until the client is back is for it to find out. */
  cutWatches(): void;
  /** Answers the next watch of each kind by saying that its version is too old. */
  expireWatches(): void;
  close(): Promise<void>;
}

const SLOW_MS = 2_000;
const reasons = { 409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable" } as const;

const kubeconfigOf = z.object({
  users: z.tuple([z.object({ user: z.object({ "client-certificate-data": z.string(), "client-key-data": z.string() }) })]),
});

/** Stands before a real API server and breaks what it is told to break. */
export async function startApiProxy(api: TestApiServer): Promise<ApiProxy> {
  const { user } = kubeconfigOf.parse(parse(readFileSync(api.kubeconfig, "utf8"))).users[0];
  const decode = (text: string): string => Buffer.from(text, "base64").toString();
  const client = { certificate: decode(user["client-certificate-data"]), key: decode(user["client-key-data"]) };
  const agent = new Agent({ keepAlive: true, cert: client.certificate, key: client.key, ca: api.ca.certificate });
  const authority = await createLabAuthority("Squall test proxy");
  const own = await authority.issue({ commonName: "127.0.0.1", ips: ["127.0.0.1"] });
  const watches = new Set<{ readonly from: IncomingMessage; readonly to: ServerResponse }>();
  const expired = new Set<string>();
  let areHeld = false;
  let willExpire = false;

  const server = createServer({ cert: own.certificate, key: own.key }, (request, response) => {
    const { method = "", url = "" } = request;
    const isWatch = url.includes("watch=");
    const kind = url.split("?")[0] ?? "";
    if (isWatch && willExpire && !expired.has(kind)) {
      expired.add(kind);
      refuse(response, 410);
      return;
    }
    const fate = method === "GET" ? "pass" : proxy.onWrite(method, url);
    if (fate === "lost") {
      request.socket.destroy();
      return;
    }
    if (typeof fate === "number") {
      request.resume();
      refuse(response, fate);
      return;
    }
    const onward = forward(
      new URL(url, api.url),
      { method, headers: { ...request.headers, host: new URL(api.url).host }, agent },
      (answer) => {
        if (method !== "GET") proxy.onWritten(method, url);
        if (fate === "unanswered") {
          answer.resume();
          request.socket.destroy();
          return;
        }
        const answerNow = (): void => {
          response.writeHead(answer.statusCode ?? 500, answer.headers);
          response.flushHeaders(); // a watch may have nothing to say for long
          answer.pipe(response);
          if (!isWatch) return;
          const watch = { from: answer, to: response };
          watches.add(watch);
          response.once("close", () => {
            watches.delete(watch);
            answer.destroy();
          });
          if (areHeld) answer.unpipe(response);
        };
        if (fate === "slow") setTimeout(answerNow, SLOW_MS);
        else answerNow();
      },
    );
    onward.on("error", () => request.socket.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  server.on("tlsClientError", () => undefined); // a client that was killed in its handshake
  const port = await new Promise<number>((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : 0);
    });
  });
  const folder = await mkdtemp(join(tmpdir(), "squall-proxy-"));
  const kubeconfig = join(folder, "kubeconfig");
  await writeFile(kubeconfig, renderKubeconfig({ server: `https://127.0.0.1:${port}`, ca: authority.ca.certificate, client }), {
    mode: 0o600,
  });

  const proxy: ApiProxy = {
    kubeconfig,
    onWrite: () => "pass",
    onWritten: () => undefined,
    holdWatches() {
      areHeld = true;
      for (const { from, to } of watches) from.unpipe(to);
    },
    releaseWatches() {
      areHeld = false;
      for (const { from, to } of watches) from.pipe(to);
    },
    blindWatches() {
      for (const { from, to } of watches) {
        from.unpipe(to);
        from.resume();
      }
    },
    cutWatches() {
      for (const { to } of watches) to.destroy();
    },
    expireWatches() {
      willExpire = true;
      expired.clear();
      for (const { to } of watches) to.destroy();
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      agent.destroy();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return proxy;
}

function refuse(response: ServerResponse, code: keyof typeof reasons): void {
  const status = { kind: "Status", apiVersion: "v1", status: "Failure", message: "broken on purpose", reason: reasons[code], code };
  response.writeHead(code, { "content-type": "application/json", ...(code === 429 && { "retry-after": "1" }) }).end(JSON.stringify(status));
}

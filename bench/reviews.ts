import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import autocannon from "autocannon";
import type { JsonObject } from "../api/json.ts";

/** What benches of the webhook have in common: its process, reviews, and load. */

export interface Server {
  readonly port: number;
  /** Of the process until now. */
  cpuSeconds(): Promise<number>;
  end(): void;
}

export async function startServer(which: "webhook" | "bare"): Promise<Server> {
  const child: ChildProcess = fork(join(import.meta.dirname, "webhook-server.ts"), [which], { execArgv: ["--max-semi-space-size=1"] });
  const [port] = (await once(child, "message")) as [number];
  return {
    port,
    async cpuSeconds() {
      child.send("cpu");
      const [microseconds] = (await once(child, "message")) as [number];
      return microseconds / 1e6;
    },
    end: () => void child.kill("SIGKILL"),
  };
}

/** As the API server sends it for a creation. */
export function renderReview(
  object: JsonObject,
  { group, kind, namespace }: { readonly group: string; readonly kind: string; readonly namespace?: string },
): string {
  const request = {
    uid: "705ab4f5-6393-11e8-b7cc-42010a800002",
    kind: { group, version: group === "" ? "v1" : "v1alpha1", kind },
    ...(namespace !== undefined && { namespace }),
    operation: "CREATE",
    userInfo: { username: "jane", groups: ["system:authenticated"] },
    object,
  };
  return JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request });
}

export interface Answer {
  readonly allowed: boolean;
  /** Base64 of JSON. */
  readonly patch?: string;
  readonly status?: { readonly message: string };
}

/** One review, for what it answers. */
export function ask(port: number, path: string, body: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = {
      host: "127.0.0.1",
      port,
      path,
      method: "POST",
      rejectUnauthorized: false,
      headers: { "content-type": "application/json" },
    };
    const request = httpsRequest(options, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        const { response: answer } = JSON.parse(Buffer.concat(chunks).toString()) as { readonly response: Answer };
        resolve(answer);
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

export interface Load {
  readonly perSecond: number;
  readonly p99Ms: number;
  /** Reviews in a second of the server's CPU time. */
  readonly perCpuSecond: number;
}

/** Sends these again and again for so long, over so many connections. Throws when one of them fails. */
export async function load(
  server: Server,
  requests: readonly { readonly path: string; readonly body: string }[],
  { connections, seconds }: { readonly connections: number; readonly seconds: number },
): Promise<Load> {
  const before = await server.cpuSeconds();
  const result = await autocannon({
    url: `https://127.0.0.1:${server.port}`,
    requests: requests.map(({ path, body }) => ({ method: "POST", path, body, headers: { "content-type": "application/json" } })),
    connections,
    duration: seconds,
  });
  if (result.errors > 0 || result.non2xx > 0)
    throw new Error(`${result.errors} errors and ${result.non2xx} refusals: nothing was measured.`);
  const cpu = (await server.cpuSeconds()) - before;
  return { perSecond: result.requests.average, p99Ms: result.latency.p99, perCpuSecond: result.requests.total / cpu };
}

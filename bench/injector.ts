import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import autocannon from "autocannon";
import type { BenchResult } from "./result.ts";

const SECONDS = 4;
const connectionCounts = [1, 8, 25, 100] as const;

/** A review of a pod with two containers, as the API server sends it: about 5 kB. */
function review(): string {
  const container = (name: string) => ({
    name,
    image: `registry.example.com/${name}:1.2.3`,
    command: ["run", "--config", "/etc/app/config.yaml"],
    env: Array.from({ length: 20 }, (_, index) => ({ name: `VARIABLE_${index}`, value: `some value number ${index}` })),
    ports: [{ name: "http", containerPort: 8080 }],
    readinessProbe: { httpGet: { path: "/ready", port: "http" } },
    resources: { requests: { cpu: "100m", memory: "128Mi" }, limits: { memory: "256Mi" } },
    volumeMounts: [{ name: "data", mountPath: "/data" }],
  });
  const labels = { app: "web", "squall.dev/inject": "enabled" };
  const object = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { generateName: "web-", namespace: "shop", labels, annotations: { note: "x".repeat(500) } },
    spec: { containers: [container("web"), container("proxy")], volumes: [{ name: "data", emptyDir: {} }], serviceAccountName: "default" },
  };
  const request = {
    uid: "705ab4f5-6393-11e8-b7cc-42010a800002",
    kind: { group: "", version: "v1", kind: "Pod" },
    namespace: "shop",
    operation: "CREATE",
    object,
  };
  return JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request });
}

async function startServer(which: "injector" | "bare"): Promise<{ readonly child: ChildProcess; readonly port: number }> {
  const child = fork(join(import.meta.dirname, "injector-server.ts"), [which], { execArgv: ["--max-semi-space-size=1"] });
  const port = await new Promise<number>((resolve) => child.once("message", (message) => resolve(Number(message))));
  return { child, port };
}

async function measure(port: number, connections: number, body: string): Promise<{ readonly perSecond: number; readonly p99Ms: number }> {
  const result = await autocannon({
    url: `https://127.0.0.1:${port}/inject`,
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
    connections,
    duration: SECONDS,
  });
  if (result.errors > 0 || result.non2xx > 0)
    throw new Error(`${result.errors} errors and ${result.non2xx} refusals: nothing was measured.`);
  return { perSecond: result.requests.average, p99Ms: result.latency.p99 };
}

/** The injector against a bare node:https handler, alternating, in one run. Load and server share the machine. */
export async function run(): Promise<BenchResult> {
  const body = review();
  const servers = { injector: await startServer("injector"), bare: await startServer("bare") };
  try {
    for (const { port } of Object.values(servers)) await measure(port, 8, body); // warm-up
    const rows: BenchResult["rows"][number][] = [];
    for (const connections of connectionCounts) {
      const bare = await measure(servers.bare.port, connections, body);
      const injector = await measure(servers.injector.port, connections, body);
      rows.push(
        { name: `${connections} connections: injector`, value: injector.perSecond, unit: "reviews/s" },
        { name: `${connections} connections: bare handler`, value: bare.perSecond, unit: "reviews/s" },
        { name: `${connections} connections: ratio`, value: injector.perSecond / bare.perSecond, unit: "", goal: "at least 0.4" },
        { name: `${connections} connections: p99`, value: injector.p99Ms, unit: "ms" },
      );
    }
    return {
      title: "Injector: reviews per second against a bare node:https handler of the same run",
      rows,
      notes: [`A review of ${body.length} bytes, a patch of seven steps; TLS, keep-alive; load and server share two cores.`],
    };
  } finally {
    for (const { child } of Object.values(servers)) child.kill("SIGKILL");
  }
}

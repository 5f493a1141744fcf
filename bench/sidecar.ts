import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createAuthority, openAuthority } from "../certs/authority.ts";
import { writeBundles } from "../lab/bundles.ts";
import { createSidecarPod, type SidecarPod } from "../test/netns/support/sidecar-pod.ts";
import type { Idle, Started } from "../test/netns/support/pod-process.ts";
import { networkFault, rule, shape } from "../test/support/network-faults.ts";
import { median } from "../test/support/statistics.ts";
import type { BenchResult, BenchRow } from "./result.ts";

const COPIES = 7;
const IDLE_MS = 10_000;
const HOUR_MS = 3_600_000;

/** What Node itself takes: a process that does nothing, and one that serves HTTP/2 over TLS and was called once by itself. */
const peers = {
  idle: `import { writeSync } from "node:fs";
setInterval(() => undefined, 2 ** 30);
writeSync(1, "up");`,
  serving: (credential: string): string => `import { writeSync } from "node:fs";
import { connect, createSecureServer } from "node:http2";
const server = createSecureServer(${credential});
server.on("stream", (stream) => { stream.respond(); stream.end(); });
server.listen(0, "127.0.0.1", () => {
  const client = connect("https://127.0.0.1:" + server.address().port, { rejectUnauthorized: false });
  client.request().on("close", () => { client.close(); writeSync(1, "up"); }).resume();
});`,
} as const;

/**
 * What an idle sidecar costs: copies of the bundle that ships, each in a pod's namespaces of its own, started as the injector has it started and
 * enrolled; and as many processes of Node beside them. All that a node of a cluster would share, these share.
 */
export async function run(): Promise<BenchResult> {
  const folder = mkdtempSync(join(tmpdir(), "squall-bench-"));
  const pods: SidecarPod[] = [];
  try {
    const bundles = join(folder, "squall");
    await writeBundles(bundles);
    const cache = join(folder, "cache");
    execFileSync(process.execPath, [join(bundles, "sidecar.mjs"), "compile"], { env: { NODE_COMPILE_CACHE: cache } }); // as the Containerfile
    const scripts = await writePeers(folder);
    const started = { idle: [] as Started[], serving: [] as Started[], sidecar: [] as Started[] };
    for (let copy = 0; copy < COPIES; copy++) {
      const pod = await createSidecarPod({ bundles });
      pods.push(pod);
      started.idle.push(await pod.start([process.execPath, scripts.idle]));
      started.serving.push(await pod.start([process.execPath, scripts.serving]));
      started.sidecar.push(await pod.startSidecar({ NODE_COMPILE_CACHE: cache }));
      await sleep(500);
    }
    await sleep(IDLE_MS);
    const idle = {
      idle: await readAll(pods, started.idle),
      serving: await readAll(pods, started.serving),
      sidecar: await readAll(pods, started.sidecar),
    };
    const calls = {
      partition: { first: [] as number[], second: [] as number[] },
      delay: { first: [] as number[], second: [] as number[] },
    };
    for (const [index, pod] of pods.entries()) {
      const fault = index % 2 === 0 ? "partition" : "delay";
      for (const which of ["first", "second"] as const) {
        calls[fault][which].push(
          (await pod.apply([networkFault("a", [rule(fault === "delay" ? { effect: shape({ latencyUs: 1_000 }) } : {})])])).ms,
        );
        await pod.apply([]);
      }
    }
    await sleep(IDLE_MS);
    const called = await readAll(pods, started.sidecar);
    const afterPartition = called.filter((_, index) => index % 2 === 0);
    const afterDelay = called.filter((_, index) => index % 2 === 1);
    return {
      title: `An idle sidecar (medians of ${COPIES})`,
      rows: [
        ...memoryRows("resident memory", "≤ 60 MB", ({ residentBytes }) => residentBytes, { ...idle, afterPartition, afterDelay }),
        ...memoryRows("private memory", "≤ 15 MB", ({ privateBytes }) => privateBytes, { ...idle, afterPartition, afterDelay }),
        ...memoryRows("anonymous memory", undefined, ({ anonymousBytes }) => anonymousBytes, { ...idle, afterPartition, afterDelay }),
        ...startRows(started),
        ...(["partition", "delay"] as const).flatMap((fault) =>
          (["first", "second"] as const).map((which) => ({
            name: `a ${fault} applied by the ${which} call`,
            value: median(calls[fault][which]),
            unit: "ms",
          })),
        ),
      ],
      notes: ["Called: the fault was applied and taken back twice, ten seconds before. A MB is a million bytes."],
    };
  } finally {
    for (const pod of pods) await pod.close();
    rmSync(folder, { recursive: true });
  }
}

async function writePeers(folder: string): Promise<{ readonly idle: string; readonly serving: string }> {
  const authority = openAuthority(await createAuthority({ now: new Date(), lifetimeMs: HOUR_MS }));
  const { certificate, key } = await authority.issueServer(["localhost"], { now: new Date(), lifetimeMs: HOUR_MS });
  const files = { idle: join(folder, "idle.mjs"), serving: join(folder, "serving.mjs") };
  writeFileSync(files.idle, peers.idle);
  writeFileSync(files.serving, peers.serving(JSON.stringify({ cert: certificate, key })));
  return files;
}

const readAll = (pods: readonly SidecarPod[], started: readonly Started[]): Promise<readonly Idle[]> =>
  Promise.all(pods.flatMap((pod, index) => (started[index] === undefined ? [] : [pod.read(started[index])])));

function memoryRows(
  name: string,
  goal: string | undefined,
  of: (idle: Idle) => number,
  read: Readonly<Record<"idle" | "serving" | "sidecar" | "afterPartition" | "afterDelay", readonly Idle[]>>,
): readonly BenchRow[] {
  const mb = (processes: readonly Idle[]): number => median(processes.map(of)) / 1e6;
  return [
    { name, value: mb(read.sidecar), unit: "MB", goal },
    { name: `${name}: of one that was called for a partition`, value: mb(read.afterPartition), unit: "MB" },
    { name: `${name}: of one that was called for a delay`, value: mb(read.afterDelay), unit: "MB" },
    { name: `${name}: Node that does nothing`, value: mb(read.idle), unit: "MB" },
    { name: `${name}: Node that serves HTTP/2 over TLS`, value: mb(read.serving), unit: "MB" },
    { name: `${name}: ratio to Node that does nothing`, value: mb(read.sidecar) / mb(read.idle), unit: "" },
  ];
}

function startRows({ sidecar, idle }: { readonly sidecar: readonly Started[]; readonly idle: readonly Started[] }): readonly BenchRow[] {
  const up = (processes: readonly Started[]): number => median(processes.map(({ upMs }) => upMs));
  return [
    { name: "exec to listening", value: up(sidecar), unit: "ms", goal: "≤ 150 ms" },
    { name: "exec to listening: CPU time, its programs included", value: median(sidecar.map(({ cpuMs }) => cpuMs)), unit: "ms" },
    { name: "exec to the first line: Node that does nothing", value: up(idle), unit: "ms" },
    { name: "exec to listening: ratio", value: up(sidecar) / up(idle), unit: "" },
  ];
}

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { writeBundles } from "../lab/bundles.ts";
import { createSidecarPod } from "../test/netns/support/sidecar-pod.ts";
import type { BenchResult } from "./result.ts";

const SETTLE_MS = 10_000;
const IDLE_MS = 60_000;

/** What a daemon costs that nobody asks for anything, beside a Node that does nothing. Its container runtime is away, which it looks for. */
export async function run(): Promise<BenchResult> {
  const folder = mkdtempSync(join(tmpdir(), "squall-bench-"));
  const bundles = join(folder, "squall");
  await writeBundles(bundles);
  const pod = await createSidecarPod({ bundles });
  try {
    const idle = await pod.start([process.execPath, "--eval", 'setInterval(() => undefined, 2 ** 30); process.stdout.write("up");']);
    const daemon = await pod.startDaemon();
    await sleep(SETTLE_MS);
    const before = await pod.read(daemon);
    await sleep(IDLE_MS);
    const [after, plain] = [await pod.read(daemon), await pod.read(idle)];
    return {
      title: "An idle daemon",
      rows: [
        { name: "resident memory", value: after.residentBytes / 1e6, unit: "MB" },
        { name: "private memory", value: after.privateBytes / 1e6, unit: "MB" },
        { name: "resident memory: Node that does nothing", value: plain.residentBytes / 1e6, unit: "MB" },
        { name: "resident memory: ratio to Node that does nothing", value: after.residentBytes / plain.residentBytes, unit: "" },
        { name: "processor", value: ((after.cpuMs - before.cpuMs) / IDLE_MS) * 100, unit: "% of one" },
        { name: "exec to listening, its probes included", value: daemon.upMs, unit: "ms" },
      ],
      notes: ["A MB is a million bytes."],
    };
  } finally {
    await pod.close();
    rmSync(folder, { recursive: true });
  }
}

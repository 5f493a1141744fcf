import { ensurePackages } from "../lab/packages.ts";
import { createProgress } from "../lab/progress.ts";
import { umlPackages } from "../lab/uml-kernel.ts";
import { compareEngines } from "../test/uml/engines.ts";
import type { BenchResult, BenchRow } from "./result.ts";

/** What comes of the same fault by netem and by NFQUEUE, on one kernel. */
export async function run(): Promise<BenchResult> {
  await ensurePackages(umlPackages, { isRoot: process.getuid?.() === 0, progress: createProgress(process.stderr) });
  const rows = Object.entries(await compareEngines()).flatMap(([name, { netem, nfqueue }]): readonly BenchRow[] => [
    { name: `${name}: netem`, value: netem, unit: "" },
    { name: `${name}: NFQUEUE`, value: nfqueue, unit: "" },
    { name: `${name}: ratio`, value: nfqueue / netem, unit: "", goal: "0.9 to 1.1" },
  ]);
  return { title: "The same faults by both engines", rows, notes: ["Measured inside a User-Mode Linux kernel, which has both."] };
}

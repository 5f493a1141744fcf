import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { writeBundles } from "../lab/bundles.ts";
import { ensurePackages } from "../lab/packages.ts";
import { createProgress } from "../lab/progress.ts";
import { runInUml } from "../lab/uml.ts";
import { umlPackages } from "../lab/uml-kernel.ts";
import { createTwoHosts } from "../test/netns/support/two-hosts.ts";
import type { BenchResult, BenchRow } from "./result.ts";

interface Measured {
  readonly spawn: number;
  readonly results: Readonly<
    Record<
      string,
      {
        readonly apply: number;
        /** Undefined where no engine is needed. */
        readonly cold?: number | undefined;
        readonly recover: number;
        readonly bare: number;
        readonly processes: number;
        readonly upstream: number;
        readonly upstreamProcesses: number;
      }
    >
  >;
}

/**
 * What it costs to put a network fault in place, against a replay of what Chaos Mesh's daemon runs for it: by NFQUEUE on this machine's kernel,
 * by netem on one of User-Mode Linux, each against the replay on the same kernel.
 */
export async function run(): Promise<BenchResult> {
  await ensurePackages(umlPackages, { isRoot: process.getuid?.() === 0, progress: createProgress(process.stderr) });
  const root = join(import.meta.dirname, "..");
  // in here, where both kernels see it
  const folder = mkdtempSync(join(root, "bench/results/bundles-"));
  const hosts = await createTwoHosts();
  try {
    // as bundles: what the image has, and an engine that starts as fast as it does there
    await writeBundles(folder, { "network-apply.mjs": "bench/network-apply-process.ts" });
    const script = join(folder, "network-apply.mjs");
    const here = await hosts.left.run(process.execPath, script);
    const inUml = await runInUml([process.execPath, "bench/network-apply-uml.ts", script], { cwd: root, timeoutMs: 580_000 });
    if (inUml.exitCode !== 0) throw new Error(inUml.output);
    return {
      title: "Putting a network fault in place",
      rows: [...rowsOf("NFQUEUE", here), ...rowsOf("netem, User-Mode Linux", inUml.output)],
      notes: [
        "The replay starts its programs directly; the daemon of Chaos Mesh goes through nsexec for each of them, which about doubles it.",
        "User-Mode Linux starts a process in many times the time of this machine's kernel, for both sides.",
      ],
    };
  } finally {
    await hosts.close();
    rmSync(folder, { recursive: true });
  }
}

function rowsOf(where: string, output: string): readonly BenchRow[] {
  const { spawn, results } = JSON.parse(output.trim().split("\n").at(-1) ?? "") as Measured;
  const rows = Object.entries(results).flatMap(
    ([name, { apply, cold, recover, bare, processes, upstream, upstreamProcesses }]): readonly BenchRow[] => {
      const title = `${where}: ${name}`;
      return [
        { name: `${title}: apply`, value: apply, unit: "ms" },
        ...(cold === undefined ? [] : [{ name: `${title}: apply, the engine not yet started`, value: cold, unit: "ms" }]),
        { name: `${title}: recover`, value: recover, unit: "ms" },
        { name: `${title}: the same input without journal and engine`, value: bare, unit: "ms" },
        { name: `${title}: processes`, value: processes, unit: "", goal: "≤ 4" },
        { name: `${title}: replay of Chaos Mesh, ${upstreamProcesses} processes`, value: upstream, unit: "ms" },
        { name: `${title}: share of the replay`, value: apply / upstream, unit: "", goal: name === "plain delay" ? "≤ 0.2" : "≤ 0.05" },
      ];
    },
  );
  return [{ name: `${where}: spawn of \`true\``, value: spawn, unit: "ms" }, ...rows];
}

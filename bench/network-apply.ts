import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeBundles } from "../lab/bundles.ts";
import { createTwoHosts } from "../test/netns/support/two-hosts.ts";
import type { BenchResult, BenchRow } from "./result.ts";

interface Measured {
  readonly spawn: number;
  readonly results: Readonly<
    Record<
      string,
      {
        readonly apply: number;
        readonly recover: number;
        readonly bare: number;
        readonly processes: number;
        readonly upstream: number;
        readonly upstreamProcesses: number;
      }
    >
  >;
}

/** What it costs to put a network fault in place, against a replay of what Chaos Mesh's daemon runs for it, in one network namespace. */
export async function run(): Promise<BenchResult> {
  const hosts = await createTwoHosts();
  const folder = mkdtempSync(join(tmpdir(), "squall-bench-"));
  try {
    // as bundles: what the image has, and an engine that starts as fast as it does there
    await writeBundles(folder, { "network-apply.mjs": "bench/network-apply-process.ts" });
    const script = join(folder, "network-apply.mjs");
    const { spawn, results } = JSON.parse(await hosts.left.run(process.execPath, script)) as Measured;
    const rows = Object.entries(results).flatMap(
      ([name, { apply, recover, bare, processes, upstream, upstreamProcesses }]): readonly BenchRow[] => [
        { name: `${name}: apply`, value: apply, unit: "ms" },
        { name: `${name}: recover`, value: recover, unit: "ms" },
        { name: `${name}: the same input without journal and engine`, value: bare, unit: "ms" },
        { name: `${name}: processes`, value: processes, unit: "", goal: "≤ 4" },
        { name: `${name}: replay of Chaos Mesh, ${upstreamProcesses} processes`, value: upstream, unit: "ms" },
        { name: `${name}: share of the replay`, value: apply / upstream, unit: "", goal: name === "plain delay" ? "≤ 0.2" : "≤ 0.05" },
      ],
    );
    return {
      title: "Putting a network fault in place",
      rows: [{ name: "spawn of `true`", value: spawn, unit: "ms" }, ...rows],
      notes: [
        "The replay starts its programs directly; the daemon of Chaos Mesh goes through nsexec for each of them, which about doubles it.",
      ],
    };
  } finally {
    await hosts.close();
    rmSync(folder, { recursive: true });
  }
}

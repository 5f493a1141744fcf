import { connectKube } from "../kube/client.ts";
import { experimentResource } from "../kube/experiments.ts";
import { readClusterState } from "../lab/cluster.ts";
import { placesOf } from "../lab/places.ts";
import { endStoryCluster } from "../test/cluster/support/cluster.ts";
import { startPeers } from "../test/cluster/support/peers.ts";
import type { BenchResult } from "./result.ts";

const ROUNDS = 30;
const SAMPLE_MS = 5;

/**
 * From the API server's answer to the first packet that is hit, and from its answer to the deletion to the first one that is not: a probe every 5 ms
 * inside the pod, whose clock is the machine's. One pod, a partition.
 */
export async function run(): Promise<BenchResult> {
  const peers = await startPeers("bench-street", ["from", "echo"]);
  const state = await readClusterState(placesOf(process.env));
  if (state.is !== "running") throw new Error("The lab is not running.");
  const kube = connectKube({ process: "bench", version: "0", kubeconfig: state.cluster.kubeconfig });
  const resource = experimentResource("NetworkChaos");
  const ref = { namespace: peers.namespace, name: "bench" };
  const spec = {
    action: "partition",
    mode: "all",
    selector: { labelSelectors: { peer: "from" } },
    externalTargets: [`${peers.ip("echo")}/32`],
  };
  const created: number[] = [];
  const deleted: number[] = [];
  try {
    await peers.sample("from", peers.ip("echo"), SAMPLE_MS);
    for (let round = 0; round < ROUNDS; round++) {
      await kube.create(resource, { metadata: ref, spec });
      created.push(Date.now());
      await peers.pause(700);
      await kube.delete(resource, ref);
      deleted.push(Date.now());
      await peers.pause(700);
    }
    const samples = await peers.samples("from", peers.ip("echo"));
    const first = (after: number, isHit: boolean): number =>
      (samples.find(([at, ms]) => at >= after && (ms === -2) === isHit)?.[0] ?? Number.NaN) - after;
    const on = created.map((at) => first(at, true)).toSorted((a, b) => a - b);
    const off = deleted.map((at) => first(at, false)).toSorted((a, b) => a - b);
    const at = (values: readonly number[], share: number): number =>
      values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN;
    return {
      title: `From the API server's answer to the first packet hit, and back (${ROUNDS} rounds, one pod)`,
      rows: [
        { name: "apply to active, p50", value: at(on, 0.5), unit: "ms", goal: "50" },
        { name: "apply to active, p99", value: at(on, 0.99), unit: "ms", goal: "150" },
        { name: "delete to gone, p50", value: at(off, 0.5), unit: "ms", goal: "50" },
        { name: "delete to gone, p99", value: at(off, 0.99), unit: "ms", goal: "150" },
      ],
      notes: [`Probes every ${SAMPLE_MS} ms add up to that much to each figure.`],
    };
  } finally {
    await kube.close();
    await peers.remove();
    await endStoryCluster();
  }
}

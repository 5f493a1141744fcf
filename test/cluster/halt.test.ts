import assert from "node:assert/strict";
import { waitUntil } from "../../lab/wait-until.ts";
import { podProcesses, signalAll } from "./support/node-processes.ts";
import { type Peers, startPeers } from "./support/peers.ts";
import { networkChaos, target } from "./support/pods.ts";

const LEASE_MS = 5_000;
const GRACE_MS = 5_000;
const SAMPLE_MS = 20;
const pods = ["p0", "p1", "p2", "p3"] as const;
const FAULTS_EACH = 5;

const isSlow = (ms: number): boolean => ms === -1 || ms > 300;

describe("somebody pulls the emergency brake", () => {
  let peers: Peers;
  before(async () => {
    peers = await startPeers("halt-street", [...pods, "echo"]);
    for (const pod of pods) await peers.sample(pod, peers.ip("echo"), SAMPLE_MS);
  });
  after(() => peers.remove());
  afterEach(async () => {
    await peers.kubectl(["delete", "halts", "--all", "-n", peers.namespace]);
    await peers.deleteExperiments();
  });

  const halt = (reason: string): object => ({
    apiVersion: "squall.dev/v1alpha1",
    kind: "Halt",
    metadata: { name: "stop", namespace: peers.namespace },
    spec: { reason },
  });
  const slow = (pod: string): object =>
    networkChaos({
      name: `slow-${pod}`,
      namespace: peers.namespace,
      annotations: { "squall.dev/lease": `${LEASE_MS}ms` },
      from: pod,
      spec: { action: "delay", delay: { latency: "400ms" }, target: target("echo") },
    });
  const cut = (pod: string, index: number): object =>
    networkChaos({
      name: `cut-${pod}-${index}`,
      namespace: peers.namespace,
      from: pod,
      spec: { action: "partition", externalTargets: [`203.0.113.${index}`] },
    });

  /** When the last probe left that was hit, of those since `sinceMs`. */
  async function lastHit(pod: string, sinceMs: number): Promise<number> {
    const samples = await peers.samples(pod, peers.ip("echo"));
    // The newest probes may still be under way.
    const hits = samples.filter(([at, ms]) => at >= sinceMs && at < Date.now() - 1_000 && isSlow(ms)).map(([at]) => at);
    return hits.at(-1) ?? 0;
  }

  it("and twenty running faults are gone within a second, for good", async () => {
    const experiments = pods.flatMap((pod) => [slow(pod), ...Array.from({ length: FAULTS_EACH - 1 }, (_, index) => cut(pod, index + 1))]);
    assert.equal(experiments.length, 20);
    await peers.apply(...experiments);
    await peers.kubectl(["wait", "networkchaos", "--all", "-n", peers.namespace, "--for=condition=AllInjected", "--timeout=40s"], {
      timeoutMs: 50_000,
    });
    await peers.pause(500);

    const pulledAt = Date.now();
    await peers.apply(halt("real outage"));
    const haltedAt = Date.now();
    await peers.waitFor("halt/stop", "Halted");
    await peers.pause(2_000);
    for (const pod of pods) {
      const last = await lastHit(pod, pulledAt - 500);
      assert.ok(last > pulledAt - 500, `${pod}: the fault was not in force when the brake was pulled`);
      assert.ok(last < haltedAt + 1_000, `${pod}: still slow ${last - haltedAt} ms after the API server's answer`);
    }
    assert.equal(await peers.jsonpath("halt/stop", "{.status.stopped} {.status.targetsLeft}"), "20 0");

    const refused = await peers.kubectl.attempt(["apply", "-f", "-"], { stdin: JSON.stringify(cut("p0", 99)) });
    assert.notEqual(refused.code, 0);
    assert.match(refused.stderr, /Halted: Halt halt-street\/stop \("real outage"\) refuses NetworkChaos cut-p0-99 until it is deleted\./);

    await peers.kubectl(["delete", "halt", "stop", "-n", peers.namespace]);
    await peers.pause(2_000);
    const { status } = await peers.experiment("slow-p0");
    assert.equal(status.conditions.find(({ type }) => type === "AllInjected")?.reason, "Halted");
    await peers.apply(cut("p0", 99));
    await peers.waitFor("networkchaos/cut-p0-99", "AllInjected");
  });

  it("and what cannot be reached recovers by its lease, while the halt says that something is left", async () => {
    await peers.apply(slow("p0"));
    await peers.waitFor("networkchaos/slow-p0", "AllInjected");
    await peers.pause(500);
    const frozen = podProcesses(await peers.jsonpath("pod/p0", "{.metadata.uid}"), "sidecar.mjs");
    assert.equal(frozen.length, 1);
    signalAll(frozen, "SIGSTOP");
    const pulledAt = Date.now();
    try {
      await peers.apply(halt("frozen sidecar"));
      const isOneLeft = async (): Promise<boolean | string> => {
        const left = await peers.jsonpath("halt/stop", "{.status.targetsLeft}");
        return left === "1" || left;
      };
      await waitUntil("the halt says what is left", isOneLeft, { timeoutMs: 15_000 });
      await peers.pause(pulledAt + LEASE_MS + GRACE_MS + 1_500 - Date.now());
      const last = await lastHit("p0", pulledAt - 500);
      assert.ok(last > pulledAt - 500, "the fault was not in force when the brake was pulled");
      assert.ok(last < pulledAt + LEASE_MS + GRACE_MS, `still slow ${last - pulledAt} ms after the brake was pulled`);
    } finally {
      signalAll(frozen, "SIGCONT");
    }
    await peers.waitFor("halt/stop", "Halted");
  });
});

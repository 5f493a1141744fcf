import assert from "node:assert/strict";
import { scaleTo, storyCluster } from "./support/cluster.ts";
import { podProcesses, signalAll } from "./support/node-processes.ts";
import { type Peers, startPeers } from "./support/peers.ts";
import { networkChaos, target } from "./support/pods.ts";

const LEASE_MS = 5_000;
const GRACE_MS = 5_000;
const DURATION_MS = 14_000;
const SAMPLE_MS = 50;

/** The three faults side by side: the pod that carries each, and how a probe shows that it is in force. */
const faults = [
  { from: "delayed", spec: { action: "delay", delay: { latency: "400ms" } }, isHit: (ms: number) => ms === -1 || ms > 300 },
  { from: "lossy", spec: { action: "loss", loss: { loss: "100" } }, isHit: (ms: number) => ms === -1 },
  { from: "cut", spec: { action: "partition", direction: "to" }, isHit: (ms: number) => ms === -2 },
] as const;

describe("a fault never outlives its owner", () => {
  let peers: Peers;
  let dumps: ReadonlyMap<string, string>;
  before(async () => {
    peers = await startPeers("crash-street", [...faults.map(({ from }) => from), "echo"]);
    for (const { from } of faults) await peers.sample(from, peers.ip("echo"), SAMPLE_MS);
    dumps = new Map(await Promise.all(faults.map(async ({ from }) => [from, await peers.dump(from)] as const)));
  });
  after(() => peers.remove());

  /** Starts all three faults; gives back when they began, by the clock that both we and the pods use. */
  async function startFaults({ duration }: { readonly duration: string | undefined }): Promise<number> {
    const began = Date.now();
    const annotations = { "squall.dev/lease": `${LEASE_MS}ms` };
    const experiments = faults.map(({ from, spec }) =>
      networkChaos({
        name: from,
        namespace: peers.namespace,
        annotations,
        from,
        spec: { ...spec, target: target("echo"), ...(duration === undefined ? {} : { duration }) },
      }),
    );
    await peers.apply(...experiments);
    await Promise.all(faults.map(({ from }) => peers.waitFor(`networkchaos/${from}`, "AllInjected")));
    await peers.pause(500);
    return began;
  }

  /** Asserts that each fault was in force before `brokenAt` and that nothing is hit any more from `goneBy` on. */
  async function assertGone({ brokenAt, goneBy }: { readonly brokenAt: number; readonly goneBy: number }): Promise<void> {
    await peers.pause(Math.max(0, goneBy + 1_500 - Date.now()));
    for (const { from, isHit } of faults) {
      const samples = await peers.samples(from, peers.ip("echo"));
      const hits = samples.filter(([at, ms]) => isHit(ms) && at < Date.now() - 1_000).map(([at]) => at);
      assert.ok(
        hits.some((at) => at > brokenAt - 1_000 && at < brokenAt + 1_000),
        `${from}: the fault was not in force when things broke`,
      );
      const last = hits.at(-1) ?? 0;
      assert.ok(last <= goneBy, `${from}: still in force ${last - goneBy} ms after it had to be gone`);
    }
  }

  async function assertNothingLeft(): Promise<void> {
    for (const { from } of faults) assert.equal(await peers.dump(from), dumps.get(from), `${from}: the kernel differs from before`);
  }

  const pidsOf = async (word: string): Promise<readonly number[]> => {
    const uids = await Promise.all(faults.map(({ from }) => peers.jsonpath(`pod/${from}`, "{.metadata.uid}")));
    return uids.flatMap((uid) => podProcesses(uid, word));
  };

  it("ends on time by its deadline, and within lease + 5 s, while every controller is down", async () => {
    await startFaults({ duration: undefined });
    const brokenAt = Date.now();
    await scaleTo(0, "controller");
    try {
      await assertGone({ brokenAt, goneBy: Date.now() + LEASE_MS + GRACE_MS });
      await assertNothingLeft();
    } finally {
      await scaleTo(2, "controller");
    }
    await peers.deleteExperiments();

    const began = await startFaults({ duration: `${DURATION_MS}ms` });
    const downAt = Date.now();
    await scaleTo(0, "controller");
    try {
      await assertGone({ brokenAt: downAt, goneBy: began + DURATION_MS + 2_000 });
    } finally {
      await scaleTo(2, "controller");
    }
    await peers.deleteExperiments();
    await assertNothingLeft();
  });

  it("ends while the sidecar crashes again and again", async () => {
    const began = await startFaults({ duration: `${DURATION_MS}ms` });
    const brokenAt = Date.now();
    while (Date.now() < began + DURATION_MS) {
      signalAll(await pidsOf("sidecar.mjs"), "SIGKILL");
      await peers.pause(200);
    }
    await assertGone({ brokenAt, goneBy: began + DURATION_MS + GRACE_MS });
    await peers.deleteExperiments();
    await Promise.all(faults.map(({ from }) => peers.waitFor(`pod/${from}`, "Ready")));
    await peers.waitForSidecars(faults.map(({ from }) => from));
    await assertNothingLeft();
  });

  it("ends while the sidecar is frozen, and deleting the experiment returns", async () => {
    await startFaults({ duration: undefined });
    const frozen = await pidsOf("sidecar.mjs");
    assert.equal(frozen.length, faults.length);
    const brokenAt = Date.now();
    signalAll(frozen, "SIGSTOP");
    try {
      await peers.deleteExperiments();
      assert.ok(Date.now() - brokenAt < LEASE_MS + GRACE_MS + 5_000, `kubectl delete took ${Date.now() - brokenAt} ms`);
      await assertGone({ brokenAt, goneBy: brokenAt + LEASE_MS + GRACE_MS });
    } finally {
      signalAll(frozen, "SIGCONT");
    }
    await peers.pause(2_000);
    await assertNothingLeft();
  });

  it("ends while the API server does not answer", async () => {
    const { apiServerPid } = await storyCluster();
    const began = await startFaults({ duration: `${DURATION_MS}ms` });
    const brokenAt = Date.now();
    const pid = apiServerPid();
    process.kill(pid, "SIGSTOP");
    try {
      await peers.pause(began + DURATION_MS + GRACE_MS - Date.now());
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await assertGone({ brokenAt, goneBy: began + DURATION_MS + 2_000 });
    await peers.deleteExperiments();
    await assertNothingLeft();
  });
});

import assert from "node:assert/strict";
import { ExperimentCluster } from "../support/experiment-cluster.ts";

/** As far as Jepsen sets clocks. */
const JUMP_MS = 288_000;
const LEASE_MS = 60_000;
const GRACE_MS = 5_000;

describe("somebody who sets the controller's clock", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());

  const jump = (byMs: number): void => cluster.clock.setWallClock(new Date(cluster.clock.now().getTime() + byMs).toISOString());

  for (const byMs of [JUMP_MS, -JUMP_MS]) {
    describe(byMs > 0 ? "forwards" : "back", () => {
      it("moves no end of an experiment, not even for an agent that starts again", async () => {
        const uid = cluster.addPod("a");
        await cluster.partition("cut", { duration: "60s" });
        await cluster.pass(10_000);
        jump(byMs);
        cluster.agents.of(uid).restart();
        await cluster.pass(10_000);
        const left = cluster.agents.of(uid).faults[0]?.remainingMs ?? 0;
        assert.ok(left > 45_000 && left <= 50_000, String(left));
        await cluster.pass(39_000);
        assert.equal(cluster.agents.of(uid).inForce.length, 1);
        assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
        await cluster.pass(2_000);
        assert.deepEqual(cluster.agents.of(uid).inForce, []);
        assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected"]);
        assert.equal(cluster.condition("cut", "AllRecovered").status, "True");
      });

      it("moves no end when another experiment comes to the same pod", async () => {
        const uid = cluster.addPod("a");
        await cluster.partition("cut", { duration: "60s" });
        jump(byMs);
        await cluster.partition("other");
        const [cut, other] = cluster.agents.of(uid).faults.toSorted((a) => (a.experiment.endsWith("/cut") ? -1 : 1));
        assert.deepEqual([cut?.remainingMs, other?.remainingMs], [60_000, undefined]);
      });

      it("neither holds a deletion up nor lets it go too early where a pod does not answer", async () => {
        const uid = cluster.addPod("a");
        await cluster.partition("cut");
        cluster.agents.of(uid).isReachable = false;
        await cluster.pass(1_000);
        await cluster.delete("cut");
        jump(byMs);
        await cluster.pass(LEASE_MS + GRACE_MS - 1_000);
        assert.notEqual(cluster.find("cut"), undefined);
        await cluster.pass(1_500);
        assert.equal(cluster.find("cut"), undefined);
        assert.deepEqual(cluster.agents.of(uid).inForce, []);
      });

      it("keeps no leases from being renewed, nor the lead from being held", async () => {
        const uid = cluster.addPod("a");
        await cluster.partition("cut", {}, { "squall.dev/lease": "6s" });
        for (let turn = 0; turn < 20; turn += 1) {
          jump(turn % 2 === 0 ? byMs : -byMs);
          await cluster.pass(1_700);
          assert.equal(cluster.agents.of(uid).inForce.length, 1);
        }
      });
    });
  }

  it("does not lengthen an experiment that the API server dates in its future, nor the wait for its deletion", async () => {
    cluster.apiServerAheadMs = JUMP_MS;
    const uid = cluster.addPod("a");
    await cluster.partition("timed", { duration: "60s" });
    assert.equal(cluster.agents.of(uid).faults[0]?.remainingMs, 60_000);
    await cluster.pass(61_000);
    assert.deepEqual(cluster.records("timed"), ["shop/a: Not Injected"]);
    await cluster.partition("cut");
    cluster.agents.of(uid).isReachable = false;
    await cluster.delete("cut");
    await cluster.takeOver();
    await cluster.pass(LEASE_MS + GRACE_MS + 500);
    assert.equal(cluster.find("cut"), undefined);
  });
});

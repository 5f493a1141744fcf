import assert from "node:assert/strict";
import { silentLog } from "../../common/log.ts";
import { startHaltReports } from "../../controller/halts.ts";
import { World } from "../../controller/world.ts";
import { clusterHalts, halts } from "../../kube/limit-resources.ts";
import { ExperimentCluster } from "../support/experiment-cluster.ts";

describe("a halt", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());

  it("ends every experiment that touches its namespace, and leaves the others alone", async () => {
    cluster.addNamespace("bank");
    const inShop = cluster.addPod("a");
    const inBank = cluster.addPod("b", { namespace: "bank" });
    await cluster.partition("shop-only");
    await cluster.partition("bank-only", { selector: { namespaces: ["bank"] } });
    await cluster.partition("both", { selector: { namespaces: ["bank", "shop"] } });
    await cluster.halt("bank", "outage");
    assert.deepEqual(cluster.records("shop-only"), ["shop/a: Injected"]);
    assert.deepEqual(cluster.records("bank-only"), ["bank/b: Not Injected"]);
    assert.deepEqual(cluster.records("both"), ["bank/b: Not Injected", "shop/a: Not Injected"]);
    assert.equal(cluster.agents.of(inShop).faults.length, 1);
    assert.equal(cluster.agents.of(inBank).faults.length, 0);
    assert.equal(
      cluster.condition("both", "AllInjected").message,
      'Halt bank/stop ("outage") stopped it. It stays stopped: apply it anew if you still want it once the halt is gone.',
    );
    assert.ok(cluster.events("both").includes("Halted: Experiment has been halted"));
  });

  it("lets nothing start, nor come back when it is gone, whoever leads then", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("before");
    await cluster.halt("cluster");
    await cluster.partition("while");
    await cluster.lift("cluster");
    await cluster.takeOver();
    await cluster.pass(60_000);
    for (const name of ["before", "while"]) {
      assert.equal(cluster.condition(name, "AllInjected").reason, "Halted", name);
      assert.equal(cluster.experiment(name).status.halted?.by, "ClusterHalt stop");
    }
    assert.equal(cluster.agents.of(uid).faults.length, 0);
    await cluster.partition("after");
    assert.deepEqual(cluster.records("after"), ["shop/a: Injected"]);
  });

  it("kills no pod that was not killed before", async () => {
    cluster.addPod("a");
    await cluster.halt("shop");
    await cluster.apply("PodChaos", "kill", { action: "pod-kill" });
    await cluster.pass(60_000);
    assert.ok(cluster.hasPod("a"));
    assert.equal(cluster.condition("kill", "Selected", "PodChaos").reason, "Halted");
  });

  it("does not stop a kill that is done", async () => {
    cluster.addPod("a");
    await cluster.apply("PodChaos", "kill", { action: "pod-kill" });
    await cluster.pass(60_000);
    await cluster.halt("cluster");
    await cluster.pass(3_000);
    assert.equal(cluster.experiment("kill", "PodChaos").status.halted, undefined);
    assert.ok(!cluster.events("kill").some((event) => event.startsWith("Halted")));
  });

  it("counts what it stopped, paused experiments too, and not what was over before", async () => {
    cluster.addPod("a");
    await cluster.partition("over", { duration: "1s" });
    await cluster.partition("paused", {}, { "experiment.chaos-mesh.org/pause": "true" });
    await cluster.pass(5_000);
    await cluster.halt("shop");
    assert.equal(cluster.experiment("over").status.halted, undefined);
    assert.equal(cluster.experiment("paused").status.halted?.by, "Halt shop/stop");
  });

  it("does not hold up a deletion", async () => {
    cluster.addPod("a");
    await cluster.partition("cut");
    await cluster.halt("shop");
    await cluster.delete("cut");
    assert.equal(cluster.find("cut"), undefined);
  });

  describe("its status", () => {
    let world: World;
    let reports: ReturnType<typeof startHaltReports>;
    beforeEach(async () => {
      const { kube, clock } = cluster;
      world = new World({ kube, clock, log: silentLog, random: () => 0 });
      world.start();
      await world.synced();
      reports = startHaltReports({ kube, world, clock, log: silentLog, signal: new AbortController().signal });
      await cluster.pass(1_000);
    });
    afterEach(async () => {
      await reports.close();
      await world.close();
    });

    const statusOfShop = (): unknown => {
      const { conditions = [], stopped, targetsLeft } = halts.parse(cluster.kube.peek(halts, { namespace: "shop", name: "stop" })).status;
      return { halted: conditions[0]?.status, stopped, targetsLeft };
    };

    it("says how many it stopped and what is left, until nothing is", async () => {
      const uid = cluster.addPod("a");
      cluster.addPod("b");
      await cluster.partition("cut");
      cluster.agents.of(uid).isReachable = false;
      await cluster.halt("shop");
      await cluster.pass(3_000);
      assert.deepEqual(statusOfShop(), { halted: "False", stopped: 1, targetsLeft: 1 });
      cluster.agents.of(uid).isReachable = true;
      await cluster.pass(60_000);
      assert.deepEqual(statusOfShop(), { halted: "True", stopped: 1, targetsLeft: 0 });
      await cluster.halt("cluster");
      await cluster.pass(1_000);
      assert.equal(clusterHalts.parse(cluster.kube.peek(clusterHalts, { name: "stop" })).status.targetsLeft, 0);
    });

    it("says so where there is no experiment", async () => {
      await cluster.halt("shop");
      await cluster.pass(1_000);
      assert.deepEqual(statusOfShop(), { halted: "True", stopped: 0, targetsLeft: 0 });
    });

    it("is mended when somebody else changes it", async () => {
      await cluster.halt("shop");
      await cluster.pass(1_000);
      const ref = { namespace: "shop", name: "stop" };
      await cluster.kube.patch(halts, ref, { status: { stopped: 7 } }, { type: "merge", subresource: "status" });
      await cluster.pass(1_000);
      assert.deepEqual(statusOfShop(), { halted: "True", stopped: 0, targetsLeft: 0 });
    });
  });
});

import assert from "node:assert/strict";
import { ExperimentCluster } from "../support/experiment-cluster.ts";

const FAR = { mode: "all", timeOffset: "-1.5s", clockIds: ["CLOCK_REALTIME", "CLOCK_MONOTONIC"] } as const;

describe("faults of containers", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());

  it("go to the daemon of each pod's node, the first container where none is named", async () => {
    const daemons = [cluster.addDaemon("node-1"), cluster.addDaemon("node-2")];
    const uid = cluster.addPod("a", { hasSidecar: false, containers: { app: "containerd://1", proxy: "containerd://2" } });
    cluster.addPod("b", { hasSidecar: false, node: "node-2" });
    const { metadata } = await cluster.apply("TimeChaos", "far", FAR);
    assert.deepEqual(cluster.records("far", "TimeChaos"), ["shop/a/app: Injected", "shop/b/app: Injected"]);
    const [fault] = daemons[0]?.faults ?? [];
    assert.equal(fault?.id, `${metadata.uid}/./${uid}/app`);
    assert.deepEqual(fault?.target, { podUid: uid, namespace: "shop", pod: "a", container: "app" });
    assert.deepEqual(fault?.family, { $case: "time", value: { seconds: -2, nanos: 500_000_000, clockIds: [0, 1] } });
    assert.equal(daemons[1]?.faults.length, 1);
    await cluster.delete("far", "TimeChaos");
    await cluster.pass(3_000);
    assert.deepEqual(
      daemons.flatMap(({ inForce }) => inForce),
      [],
    );
    assert.equal(cluster.find("far", "TimeChaos"), undefined);
  });

  it("hit the containers that are named, and leave out pods that have none of them", async () => {
    const daemon = cluster.addDaemon();
    cluster.addPod("a", { containers: { app: "containerd://1", proxy: "containerd://2" } });
    cluster.addPod("b");
    await cluster.apply("StressChaos", "busy", { containerNames: ["proxy", "other"], stressors: { memory: { workers: 2, size: "25%" } } });
    assert.deepEqual(cluster.records("busy", "StressChaos"), ["shop/a/proxy: Injected"]);
    assert.deepEqual(daemon.faults[0]?.family, {
      $case: "stress",
      value: {
        cpu: undefined,
        memory: { workers: 2, size: { $case: "percent", value: 25 }, oomScoreAdj: 0, options: [] },
        stressngArguments: [],
      },
    });
    const [skipped] = cluster.experiment("busy", "StressChaos").status.skipped ?? [];
    assert.deepEqual(skipped, { id: "shop/b", reason: "NoContainer", message: "The pod has no container proxy and other. It has app." });
  });

  it("wait for a daemon where a node has none", async () => {
    cluster.addPod("a");
    await cluster.apply("TimeChaos", "far", FAR);
    assert.match(cluster.selected("far", "TimeChaos"), /^False NoTargets: .*NoDaemon/);
    cluster.addDaemon();
    await cluster.pass(2_000);
    assert.deepEqual(cluster.records("far", "TimeChaos"), ["shop/a/app: Injected"]);
  });

  it("are refused early where the daemon found out that its node cannot do it", async () => {
    const daemon = cluster.addDaemon();
    cluster.addPod("a");
    cluster.experiments.learnPassport(daemon.uid, {
      engines: [],
      missing: ["time: The kernel forbids writes to /proc/PID/mem."],
      iptables: "",
      families: [],
      devices: [],
      volumes: [],
      hasIfb: false,
      hasMeshRedirect: false,
      hasBpf: false,
      familiesOfFaults: ["stress"],
    });
    await cluster.apply("TimeChaos", "far", FAR);
    const [skipped] = cluster.experiment("far", "TimeChaos").status.skipped ?? [];
    assert.equal(skipped?.reason, "CannotCarry");
    assert.equal(skipped?.message, "The pod's node cannot carry out time faults. The kernel forbids writes to /proc/PID/mem.");
  });

  it("live through a change of leader without a break", async () => {
    const daemon = cluster.addDaemon();
    cluster.addPod("a");
    await cluster.apply("TimeChaos", "far", FAR);
    await cluster.takeOver();
    assert.ok(daemon.accepted.every(({ faults }) => faults.length === 1));
    assert.deepEqual(cluster.records("far", "TimeChaos"), ["shop/a/app: Injected"]);
  });
});

describe("container-kill", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());
  const kill = { action: "container-kill", mode: "all", containerNames: ["app"] } as const;

  it("ends exactly the containers that ran when they were picked, once, and has them on record before", async () => {
    const daemon = cluster.addDaemon();
    const uid = cluster.addPod("a", { containers: { app: "containerd://1", proxy: "containerd://2" } });
    cluster.addPod("b", { containers: { app: undefined } });
    await cluster.apply("PodChaos", "kill", kill);
    assert.deepEqual(daemon.killed, ["containerd://1"]);
    assert.deepEqual(cluster.records("kill", "PodChaos"), ["shop/a/app: Injected"]);
    const { containerRecords, ...rest } = cluster.experiment("kill", "PodChaos").status.experiment;
    assert.deepEqual([containerRecords?.[0]?.containerID, rest.desiredPhase], ["containerd://1", "Run"]);
    assert.equal(cluster.experiment("kill", "PodChaos").status.skipped?.[0]?.reason, "NotRunning");
    cluster.addPod("a", { uid, containers: { app: "containerd://3", proxy: "containerd://2" } });
    await cluster.takeOver();
    await cluster.pass(60_000);
    assert.deepEqual(daemon.killed, ["containerd://1"]);
  });

  it("is not done twice when the leader dies before it could write that it is done", async () => {
    const daemon = cluster.addDaemon();
    const uid = cluster.addPod("a");
    cluster.kube.hook = (moment) => {
      if (moment === "before" && daemon.killed.length > 0) {
        cluster.kill();
        throw new Error("the leader is gone");
      }
    };
    await cluster.apply("PodChaos", "kill", kill);
    cluster.kube.hook = () => undefined;
    cluster.addPod("a", { uid, containers: { app: "containerd://new" } });
    await cluster.takeOver();
    await cluster.pass(60_000);
    assert.deepEqual(daemon.killed, ["containerd://a-1"]);
    assert.deepEqual(cluster.records("kill", "PodChaos"), ["shop/a/app: Injected TargetGone"]);
    assert.equal(
      cluster.experiment("kill", "PodChaos").status.experiment.containerRecords?.[0]?.message,
      "The container that was picked had ended already.",
    );
  });

  it("says why it failed, and is tried again", async () => {
    const daemon = cluster.addDaemon();
    cluster.addPod("a");
    daemon.failure = "The container runtime does not answer.";
    await cluster.apply("PodChaos", "kill", kill);
    assert.deepEqual(cluster.records("kill", "PodChaos"), ["shop/a/app: Not Injected KillFailed"]);
    daemon.failure = undefined;
    await cluster.pass(5_000);
    assert.deepEqual(cluster.records("kill", "PodChaos"), ["shop/a/app: Injected"]);
  });
});

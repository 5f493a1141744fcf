import assert from "node:assert/strict";
import { FINALIZER } from "../../common/names.ts";
import { KubeError } from "../../kube/errors.ts";
import { experimentResource } from "../../kube/experiments.ts";
import { pods } from "../../kube/resources.ts";
import { ExperimentCluster } from "../support/experiment-cluster.ts";
import { emptyPassport } from "../support/fake-family.ts";

const LEASE_MS = 60_000;
const GRACE_MS = 5_000;

describe("a durable experiment", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());

  it("is on record before its first fault is sent", async () => {
    const uid = cluster.addPod("a");
    const held = Promise.withResolvers<void>();
    cluster.agents.of(uid).until = held.promise;
    await cluster.partition("cut");
    assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected/Wait"]);
    assert.equal(cluster.experiment("cut").status.experiment.containerRecords?.[0]?.targetUID, uid);
    assert.deepEqual(cluster.agents.of(uid).accepted, []);
    held.resolve();
    await cluster.pass(0);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
  });

  it("sends nothing while its intent cannot be written", async () => {
    const uid = cluster.addPod("a");
    cluster.kube.fail({ verb: "patch", plural: "networkchaos", times: 3, error: unavailable() });
    await cluster.partition("cut");
    assert.deepEqual(cluster.agents.of(uid).accepted, []);
    await cluster.pass(2_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
  });

  it("says what it did in conditions and events", async () => {
    cluster.addPod("a");
    cluster.addPod("b");
    await cluster.partition("cut");
    assert.deepEqual(cluster.events("cut"), ["Started: Experiment has started", "Applied: Successfully apply chaos for shop/a and 1 more"]);
    assert.equal(cluster.experiment("cut").status.experiment.desiredPhase, "Run");
    const claims = ["Selected", "AllInjected", "AllRecovered", "Paused"].map((type) => cluster.condition("cut", type));
    assert.deepEqual(
      claims.map(({ status, reason }) => `${status} ${reason}`),
      ["True TargetsSelected", "True AllTargetsInjected", "False Running", "False NotPaused"],
    );
  });

  it("ends with its duration, and says so", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut", { duration: "30s" });
    assert.equal(cluster.agents.of(uid).faults[0]?.remainingMs, 30_000);
    await cluster.pass(29_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
    await cluster.pass(1_100);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected"]);
    assert.equal(cluster.experiment("cut").status.experiment.desiredPhase, "Stop");
    assert.equal(cluster.condition("cut", "AllRecovered").status, "True");
    assert.deepEqual(cluster.events("cut").slice(2), [
      "TimeUp: Time up according to the duration",
      "Recovered: Successfully recover chaos for shop/a",
    ]);
    assert.deepEqual(cluster.agents.of(uid).faults, []);
    assert.equal(cluster.agents.of(uid).openStreams, 0);
  });

  it("that is created when its time is over picks nobody", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("late", { duration: "0s" });
    assert.equal(cluster.experiment("late").status.experiment.containerRecords, undefined);
    assert.equal(cluster.experiment("late").status.experiment.desiredPhase, "Stop");
    assert.deepEqual(cluster.agents.of(uid).accepted, []);
  });

  it("keeps its lease alive by a heartbeat every third of it", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut", {}, { "squall.dev/lease": "6s" });
    for (let second = 0; second < 60; second += 1) {
      await cluster.pass(1_000);
      assert.equal(cluster.agents.of(uid).inForce.length, 1);
    }
    assert.equal(cluster.agents.of(uid).faults[0]?.leaseMs, 6_000);
  });

  it("takes the default lease and warns where the annotation cannot be read", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut", {}, { "squall.dev/lease": "soon" });
    assert.equal(cluster.agents.of(uid).faults[0]?.leaseMs, LEASE_MS);
    assert.ok(cluster.events("cut").some((event) => event.startsWith('InvalidLease: annotation squall.dev/lease: "soon" is no duration')));
  });

  it("is lifted by a pause and comes back after it, on the same pods", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut");
    await cluster.annotate("cut", { "experiment.chaos-mesh.org/pause": "true" });
    assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected"]);
    assert.equal(cluster.condition("cut", "Paused").status, "True");
    assert.deepEqual(cluster.agents.of(uid).inForce, []);
    cluster.addPod("b");
    await cluster.annotate("cut", { "experiment.chaos-mesh.org/pause": null });
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
    const [record] = cluster.experiment("cut").status.experiment.containerRecords ?? [];
    assert.deepEqual([record?.injectedCount, record?.recoveredCount], [2, 1]);
    assert.deepEqual(
      cluster.events("cut").map((event) => event.split(":")[0]),
      ["Started", "Applied", "Paused", "Recovered", "Started", "Applied"],
    );
  });

  it("is not paused by any other value", async () => {
    cluster.addPod("a");
    await cluster.partition("cut", {}, { "experiment.chaos-mesh.org/pause": "yes" });
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
  });

  it("goes at once when it is deleted and its pods confirm", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut");
    await cluster.delete("cut");
    assert.equal(cluster.find("cut"), undefined);
    assert.deepEqual(cluster.agents.of(uid).inForce, []);
    assert.deepEqual(cluster.events("cut").slice(2), [
      "Deleted: Experiment has been deleted",
      "Recovered: Successfully recover chaos for shop/a",
    ]);
    assert.equal(cluster.unconfirmed, 0);
  });

  it("goes at once when it is deleted before it picked anybody", async () => {
    await cluster.partition("cut");
    await cluster.delete("cut");
    assert.equal(cluster.find("cut"), undefined);
  });

  it("leaves the finalizers of others alone", async () => {
    cluster.addPod("a");
    cluster.kube.seed(experimentResource("NetworkChaos"), {
      metadata: { name: "shared", namespace: "shop", finalizers: ["example.com/keep", FINALIZER] },
      spec: { action: "partition", mode: "all", selector: { labelSelectors: { app: "web" } } },
    });
    await cluster.pass(0);
    await cluster.delete("shared");
    assert.deepEqual(cluster.experiment("shared").metadata.finalizers, ["example.com/keep"]);
  });

  it("gets the finalizer where somebody took it away, and keeps that of others", async () => {
    cluster.addPod("a");
    await cluster.partition("cut");
    cluster.kube.seed(experimentResource("NetworkChaos"), {
      ...cluster.kube.peek(experimentResource("NetworkChaos"), { namespace: "shop", name: "cut" }),
      metadata: { ...cluster.experiment("cut").metadata, finalizers: ["example.com/keep"] },
    });
    await cluster.pass(0);
    assert.deepEqual(cluster.experiment("cut").metadata.finalizers, ["example.com/keep", FINALIZER]);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
  });

  it("is over once it is gone, although the cache still has it", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut");
    let isCut = false;
    cluster.kube.hook = () => {
      if (isCut || cluster.find("cut")?.metadata.deletionTimestamp === undefined) return;
      isCut = true;
      cluster.kube.fail({ verb: "watch", plural: "networkchaos", times: 4, error: unavailable() });
      cluster.kube.endWatches(unavailable());
    };
    await cluster.delete("cut");
    await cluster.pass(1_000);
    assert.equal(cluster.find("cut"), undefined);
    const sent = cluster.agents.of(uid).accepted.length;
    const wrote = cluster.writes.length;
    // the watch of pods is back already, and what changes there concerns the experiment that the cache still has
    cluster.kube.seed(pods, { ...cluster.pod("a"), metadata: { name: "a", namespace: "shop", labels: { app: "web", version: "2" } } });
    await cluster.pass(100);
    assert.equal(cluster.agents.of(uid).accepted.length, sent);
    assert.equal(cluster.writes.length, wrote);
    // one of the same name is another one, whatever became of the first
    await cluster.pass(30_000);
    await cluster.partition("cut");
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
  });

  it("that is deleted while it is being applied leaves nothing behind", async () => {
    const uid = cluster.addPod("a");
    const held = Promise.withResolvers<void>();
    cluster.agents.of(uid).until = held.promise;
    await cluster.partition("cut");
    await cluster.delete("cut");
    assert.equal(cluster.experiment("cut").metadata.finalizers?.length, 1);
    held.resolve();
    await cluster.pass(0);
    assert.equal(cluster.find("cut"), undefined);
    assert.deepEqual(cluster.agents.of(uid).inForce, []);
  });

  it("can be deleted although a pod does not answer: after lease and grace, with a warning", async () => {
    const uid = cluster.addPod("a");
    cluster.addPod("b");
    await cluster.partition("cut");
    cluster.agents.of(uid).isReachable = false;
    await cluster.delete("cut");
    await cluster.pass(3_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected/Wait RecoveryUnconfirmed", "shop/b: Not Injected"]);
    await cluster.pass(LEASE_MS + GRACE_MS - 3_500);
    assert.notEqual(cluster.find("cut"), undefined);
    await cluster.pass(1_000);
    assert.equal(cluster.find("cut"), undefined);
    assert.equal(cluster.unconfirmed, 1);
    assert.ok(cluster.events("cut").some((event) => event.startsWith("RecoveryUnconfirmed: Deleted without a confirmation")));
    assert.deepEqual(cluster.agents.of(uid).inForce, [], "the lease has lifted it");
  });

  it("that left a pod unconfirmed still has its fault taken back when the pod answers again", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut", {}, { "squall.dev/lease": "5s" });
    cluster.agents.of(uid).isReachable = false;
    await cluster.delete("cut");
    await cluster.pass(11_000);
    assert.equal(cluster.find("cut"), undefined);
    cluster.agents.of(uid).isReachable = true;
    await cluster.pass(6_000);
    assert.deepEqual(cluster.agents.of(uid).faults, []);
    const dials = cluster.agents.dialled.length;
    await cluster.pass(60_000);
    assert.equal(cluster.agents.dialled.length, dials, "and is then left alone");
  });

  it("goes at once with the annotation that forces it, and is taken back all the same", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut");
    cluster.agents.of(uid).isReachable = false;
    await cluster.annotate("cut", { "chaos-mesh.chaos-mesh.org/cleanFinalizer": "forced" });
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"], "not before it is deleted");
    await cluster.delete("cut");
    assert.equal(cluster.find("cut"), undefined);
    cluster.agents.of(uid).isReachable = true;
    await cluster.pass(6_000);
    assert.deepEqual(cluster.agents.of(uid).inForce, []);
  });

  it("ends for a pod that is gone, and never touches one that took its name", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut");
    const successor = cluster.addPod("a");
    await cluster.pass(0);
    assert.notEqual(successor, uid);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected TargetGone"]);
    assert.equal(cluster.condition("cut", "AllInjected").reason, "TargetsGone");
    assert.deepEqual(cluster.agents.of(successor).accepted, []);
    await cluster.delete("cut");
    assert.equal(cluster.find("cut"), undefined);
  });

  it("does not take a failed look-up for a pod that is gone", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut");
    cluster.kube.fail({ verb: "get", plural: "pods", times: 2, error: unavailable() });
    cluster.kube.remove(pods, { namespace: "shop", name: "a" });
    await cluster.pass(50);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
    await cluster.pass(2_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected TargetGone"]);
  });

  it("is applied again by a sidecar that restarted", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut");
    cluster.agents.of(uid).restart();
    assert.deepEqual(cluster.agents.of(uid).inForce, []);
    await cluster.pass(1_000);
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
    assert.deepEqual(cluster.experiments.desiredFor(uid)?.faults.length, 1, "an enrolment is told as well");
  });

  it("says that it is lifted when nothing got through for longer than its lease, and that it is back", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut", {}, { "squall.dev/lease": "5s" });
    cluster.agents.of(uid).isReachable = false;
    await cluster.pass(3_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
    await cluster.pass(9_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected/Wait LeaseExpired"]);
    assert.equal(cluster.condition("cut", "AllInjected").status, "False");
    cluster.agents.of(uid).isReachable = true;
    await cluster.pass(6_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
  });

  it("says why a pod refuses it, and does not count it as injected", async () => {
    const uid = cluster.addPod("a");
    cluster.addPod("b");
    cluster.agents.of(uid).refusal = { reason: "ForeignQdisc", message: "Somebody else shapes eth0." };
    await cluster.partition("cut");
    assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected/Wait ForeignQdisc", "shop/b: Injected"]);
    assert.match(
      cluster.condition("cut", "AllInjected").message ?? "",
      /on 1 of 2 targets\. shop\/a: ForeignQdisc: Somebody else shapes eth0\./,
    );
    assert.ok(cluster.events("cut").includes("Failed: Failed to apply chaos: shop/a: ForeignQdisc: Somebody else shapes eth0."));
  });

  it("stays on record when a pod cannot take it back, until it can", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut", { duration: "10s" }, { "squall.dev/lease": "5s" });
    cluster.agents.of(uid).failure = "iptables: resource busy";
    await cluster.pass(13_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected/Wait RecoverFailed"]);
    assert.equal(cluster.condition("cut", "AllRecovered").status, "False");
    cluster.agents.of(uid).mend();
    await cluster.pass(2_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected"]);
    assert.equal(cluster.agents.of(uid).openStreams, 0);
  });

  it("shows receipts soon after the first match and at once when it ends, and seldom while it runs", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut", { duration: "100s" });
    const receipts = (): number | undefined => cluster.experiment("cut").status.experiment.containerRecords?.[0]?.receipts?.matched;
    for (let second = 1; second <= 70; second += 1) {
      cluster.agents.of(uid).matched = second;
      cluster.agents.of(uid).notify();
      await cluster.pass(1_000);
      if (second === 5) assert.ok((receipts() ?? 0) >= 1);
    }
    assert.ok((receipts() ?? 0) >= 30);
    assert.ok(cluster.writes.filter((write) => write === "patch networkchaos/status").length <= 5);
    cluster.agents.of(uid).matched = 4_711;
    await cluster.pass(31_000);
    assert.equal(receipts(), 4_711);
  });

  it("writes how far it has come after 2 s, and then every 5 s", async () => {
    const uids = Array.from({ length: 20 }, (_, index) => cluster.addPod(`pod-${index}`));
    const answers = uids.map((uid) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      cluster.agents.of(uid).until = promise;
      return resolve;
    });
    await cluster.partition("cut");
    const written: number[] = [];
    const begun = cluster.writes.length;
    for (const [second, answer] of answers.entries()) {
      answer();
      await cluster.pass(1_000);
      const { length } = cluster.writes.slice(begun).filter((write) => write === "patch networkchaos/status");
      while (written.length < length) written.push(second + 1);
    }
    assert.deepEqual(written, [3, 8, 13, 18, 20]);
  });

  it("looks for many pods that went at once, and only once for each", async () => {
    const names = Array.from({ length: 40 }, (_, index) => `pod-${index}`);
    for (const name of names) cluster.addPod(name);
    await cluster.partition("cut");
    const before = cluster.kube.requests.length;
    for (const name of names) cluster.kube.remove(pods, { namespace: "shop", name });
    await cluster.pass(10_000);
    assert.ok(cluster.records("cut").every((record) => record.endsWith("Not Injected TargetGone")));
    const looks = cluster.kube.requests.slice(before).filter(({ verb, plural }) => verb === "get" && plural === "pods");
    assert.equal(looks.length, 40);
  });

  it("shares a pod with another one, whose end leaves it in force", async () => {
    const uid = cluster.addPod("a");
    const one = await cluster.partition("one");
    const two = await cluster.partition("two", { externalTargets: ["203.0.113.0/24"] });
    assert.deepEqual(cluster.agents.of(uid).inForce.toSorted(), [`${one.metadata.uid}/.`, `${two.metadata.uid}/.`].toSorted());
    await cluster.delete("one");
    assert.equal(cluster.find("one"), undefined);
    assert.deepEqual(cluster.agents.of(uid).inForce, [`${two.metadata.uid}/.`]);
    assert.deepEqual(cluster.records("two"), ["shop/a: Injected"]);
  });

  it("whose name is taken by another one leaves its pods to that one", async () => {
    const uid = cluster.addPod("a");
    const before = await cluster.partition("cut");
    // Somebody strips the finalizer, and the name is used again, between two looks of the controller.
    cluster.kube.remove(experimentResource("NetworkChaos"), { namespace: "shop", name: "cut" });
    const after = await cluster.partition("cut", { externalTargets: ["203.0.113.0/24"] });
    assert.notEqual(before.metadata.uid, after.metadata.uid);
    assert.deepEqual(cluster.agents.of(uid).inForce, [`${after.metadata.uid}/.`]);
  });
});

describe("an experiment with two sides", () => {
  let cluster: ExperimentCluster;
  let source: string;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
    source = cluster.addPod("a");
    cluster.addPod("db-1", { labels: { app: "db" } });
  });
  afterEach(() => cluster.stop());

  const slow = (annotations: Readonly<Record<string, string>> = {}, own: object = {}) =>
    cluster.apply(
      "NetworkChaos",
      "slow",
      {
        action: "delay",
        delay: { latency: "1ms" },
        target: { mode: "all", selector: { namespaces: ["shop"], labelSelectors: { app: "db" } } },
        ...own,
      },
      annotations,
    );
  const removeTarget = async (): Promise<void> => {
    cluster.kube.remove(pods, { namespace: "shop", name: "db-1" });
    await cluster.pass(0);
  };

  it("has no fault while nobody is on the other side, and says so", async () => {
    await slow();
    assert.deepEqual(cluster.records("slow"), ["shop/a: Injected", "target shop/db-1: Injected"]);
    await removeTarget();
    assert.deepEqual(cluster.records("slow"), ["shop/a: Not Injected NoPeers", "target shop/db-1: Not Injected TargetGone"]);
    assert.deepEqual(cluster.agents.of(source).inForce, []);
    assert.equal(
      cluster.condition("slow", "AllInjected").message,
      "The fault is in force on 0 of 1 target. shop/a: NoPeers: No pod is left on the other side, so nothing is faulted. One that follows (annotation squall.dev/follow) goes on when a pod comes.",
    );
    assert.deepEqual(cluster.events("slow").slice(2), ["Recovered: Successfully recover chaos for shop/a"]);
    await cluster.delete("slow");
    assert.equal(cluster.find("slow"), undefined);
  });

  it("has the fault again when a pod comes, if it follows, and puts that on record first", async () => {
    await slow({ "squall.dev/follow": "true" });
    await removeTarget();
    assert.deepEqual(cluster.records("slow"), ["shop/a: Not Injected NoPeers"]);
    const held = Promise.withResolvers<void>();
    cluster.agents.of(source).until = held.promise;
    cluster.addPod("db-2", { labels: { app: "db" } });
    await cluster.pass(2_000);
    assert.equal(cluster.records("slow")[0], "shop/a: Not Injected/Wait");
    held.resolve();
    await cluster.pass(0);
    assert.deepEqual(cluster.records("slow"), ["shop/a: Injected", "target shop/db-2: Injected"]);
    assert.equal(cluster.agents.of(source).inForce.length, 1);
    const [record] = cluster.experiment("slow").status.experiment.containerRecords ?? [];
    assert.deepEqual([record?.injectedCount, record?.recoveredCount], [2, 1]);
  });

  it("knows a pod that goes while it waits for the other side", async () => {
    await slow({ "squall.dev/follow": "true" });
    await removeTarget();
    cluster.addPod("a");
    await cluster.pass(1_000);
    assert.deepEqual(cluster.records("slow"), ["shop/a: Not Injected NoPeers"]);
    const [record] = cluster.experiment("slow").status.experiment.containerRecords ?? [];
    assert.equal(record?.targetUID, cluster.pod("a").metadata.uid);
  });

  it("stays on record while the agent that has its fault cannot be asked, whoever leads", async () => {
    await slow();
    cluster.agents.of(source).isReachable = false;
    await removeTarget();
    await cluster.pass(3_000);
    assert.equal(cluster.records("slow")[0], "shop/a: Injected/Wait RecoveryUnconfirmed");
    await cluster.takeOver();
    await cluster.delete("slow");
    await cluster.pass(LEASE_MS);
    assert.ok(cluster.find("slow"));
    await cluster.pass(GRACE_MS);
    assert.equal(cluster.find("slow"), undefined);
    assert.equal(cluster.unconfirmed, 1);
    assert.deepEqual(cluster.agents.of(source).inForce, []);
  });

  it("goes as soon as the agent can be asked", async () => {
    await slow();
    cluster.agents.of(source).isReachable = false;
    await removeTarget();
    await cluster.delete("slow");
    assert.ok(cluster.find("slow"));
    cluster.agents.of(source).isReachable = true;
    await cluster.pass(5_000);
    assert.equal(cluster.find("slow"), undefined);
    assert.equal(cluster.unconfirmed, 0);
  });

  it("asks no agent of a pod that is only the other side", async () => {
    await slow();
    const target = cluster.pod("db-1").metadata.uid;
    cluster.kube.remove(pods, { namespace: "shop", name: "a" });
    await cluster.pass(0);
    assert.deepEqual(cluster.records("slow"), ["shop/a: Not Injected TargetGone", "target shop/db-1: Not Injected NoPeers"]);
    await cluster.delete("slow");
    assert.equal(cluster.find("slow"), undefined);
    assert.deepEqual(cluster.agents.of(target).accepted, []);
  });

  it("asks the agents of both sides of a partition", async () => {
    await slow({}, { action: "partition", delay: undefined });
    const target = cluster.pod("db-1").metadata.uid;
    assert.equal(cluster.agents.of(target).inForce.length, 1);
    cluster.agents.of(target).isReachable = false;
    cluster.kube.remove(pods, { namespace: "shop", name: "a" });
    await cluster.delete("slow");
    await cluster.pass(3_000);
    assert.equal(cluster.records("slow")[1], "target shop/db-1: Injected/Wait RecoveryUnconfirmed");
    cluster.agents.of(target).isReachable = true;
    await cluster.pass(5_000);
    assert.equal(cluster.find("slow"), undefined);
    assert.deepEqual(cluster.agents.of(target).inForce, []);
  });

  it("leaves no half of a partition on the side that is left", async () => {
    await slow({}, { action: "partition", delay: undefined });
    const target = cluster.pod("db-1").metadata.uid;
    cluster.kube.remove(pods, { namespace: "shop", name: "a" });
    await cluster.pass(1_000);
    assert.deepEqual(cluster.records("slow"), ["shop/a: Not Injected TargetGone", "target shop/db-1: Not Injected NoPeers"]);
    assert.deepEqual(cluster.agents.of(target).inForce, []);
  });

  it("keeps the fault for external addresses when the pods beside them are gone", async () => {
    await slow({}, { externalTargets: ["192.0.2.1"] });
    await removeTarget();
    assert.equal(cluster.records("slow")[0], "shop/a: Injected");
  });
});

describe("an experiment without targets", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());

  it("says so once, in words that help", async () => {
    await cluster.partition("cut");
    await cluster.pass(60_000);
    const { status, reason, message } = cluster.condition("cut", "Selected");
    assert.deepEqual([status, reason], ["False", "NoTargets"]);
    assert.match(message ?? "", /No pod in shop has labels app=web\. Try: kubectl get pods -n shop -l app=web/);
    assert.deepEqual(
      cluster.events("cut").map((event) => event.slice(0, 40)),
      ["Started: Experiment has started", "Failed: Failed to select targets: spec.s"],
    );
    assert.equal(cluster.writes.filter((write) => write === "patch networkchaos/status").length, 1);
  });

  it("takes pods that come later", async () => {
    await cluster.partition("cut");
    cluster.addPod("a");
    await cluster.pass(0);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
    assert.equal(cluster.condition("cut", "Selected").status, "True");
  });

  it("names pods that match and cannot carry the fault", async () => {
    cluster.addPod("bare", { hasSidecar: false });
    cluster.addPod("host", { hostNetwork: true });
    await cluster.partition("cut");
    assert.deepEqual(
      cluster.experiment("cut").status.skipped?.map(({ id, reason }) => `${id} ${reason}`),
      ["shop/bare NotInjected", "shop/host HostNetwork"],
    );
    assert.match(
      cluster.condition("cut", "Selected").message ?? "",
      /2 pods that match were skipped: NotInjected \(1\), HostNetwork \(1\)\./,
    );
  });

  it("leaves out pods whose kernel or devices do not allow the fault", async () => {
    const able = cluster.addPod("able");
    const unable = cluster.addPod("unable");
    const passport = { ...emptyPassport, engines: ["nfqueue"], missing: ["netem: Specified qdisc kind is unknown."] };
    cluster.experiments.learnPassport(able, { ...passport, engines: ["netem"], missing: [] });
    cluster.experiments.learnPassport(unable, passport);
    const delay = { action: "delay", delay: { latency: "10ms" }, engine: "netem" };
    await cluster.apply("NetworkChaos", "slow", delay);
    assert.deepEqual(cluster.records("slow"), ["shop/able: Injected"]);
    assert.deepEqual(cluster.experiment("slow").status.skipped, [
      {
        id: "shop/unable",
        reason: "CannotCarry",
        message:
          "The pod's kernel cannot shape packets by netem. netem: Specified qdisc kind is unknown. Leave spec.engine out, or write nfqueue.",
      },
    ]);
    await cluster.partition("cut", { device: "eth1" });
    assert.match(cluster.condition("cut", "Selected").message ?? "", /2 pods that match were skipped: CannotCarry \(2\)\./);
  });

  it("does not let skipped pods keep it from being all injected", async () => {
    cluster.addPod("a");
    cluster.addPod("bare", { hasSidecar: false });
    await cluster.partition("cut");
    assert.equal(cluster.condition("cut", "AllInjected").status, "True");
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
    assert.equal(cluster.experiment("cut").status.skipped?.length, 1);
  });

  it("leaves namespaces alone that did not opt in", async () => {
    cluster.addNamespace("private", { isOptedIn: false });
    cluster.addPod("a", { namespace: "private" });
    await cluster.partition("cut", { selector: { namespaces: ["private"] } });
    assert.deepEqual(cluster.experiment("cut").status.skipped?.[0]?.reason, "NamespaceNotOptedIn");
    cluster.addNamespace("private");
    await cluster.pass(0);
    assert.deepEqual(cluster.records("cut"), ["private/a: Injected"]);
  });

  it("says that what it asks for cannot be carried out yet", async () => {
    const uid = cluster.addPod("a");
    await cluster.apply("NetworkChaos", "later", { action: "bandwidth" });
    assert.equal(cluster.condition("later", "Selected").reason, "NotYetSupported");
    assert.ok(cluster.events("later")[0]?.startsWith("NotSupported: spec.bandwidth: is missing, so bandwidth would do nothing."));
    assert.deepEqual(cluster.agents.of(uid).accepted, []);
    await cluster.delete("later");
    assert.equal(cluster.find("later"), undefined);
  });

  it("says so of a kind that it cannot carry out at all, and lets it go", async () => {
    const uid = cluster.addPod("a");
    await cluster.apply("KernelChaos", "later", { failKernRequest: { failtype: 0 } });
    const { reason, message } = cluster.condition("later", "Selected", "KernelChaos");
    assert.deepEqual([reason, message], ["NotYetSupported", "kind: KernelChaos cannot be carried out yet."]);
    assert.deepEqual(cluster.agents.of(uid).accepted, []);
    await cluster.delete("later", "KernelChaos");
    assert.equal(cluster.find("later", "KernelChaos"), undefined);
  });

  it("says what is wrong with a spec that no webhook has seen", async () => {
    cluster.addPod("a");
    await cluster.apply("NetworkChaos", "odd", { action: "delay", delay: { latency: "200" } });
    assert.equal(cluster.condition("odd", "Selected").reason, "InvalidSpec");
    assert.match(cluster.condition("odd", "Selected").message ?? "", /spec\.delay\.latency: "200" has no unit/);
  });
});

describe("an experiment that follows", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());

  it("takes pods in that are born later, and has the fault ready before they can be dialled", async () => {
    cluster.addPod("a");
    await cluster.partition("cut", {}, { "squall.dev/follow": "true" });
    const uid = cluster.addPod("b", { phase: "Pending", ip: undefined });
    await cluster.pass(0);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected", "shop/b: Not Injected/Wait"]);
    assert.equal(cluster.experiments.desiredFor(uid)?.faults.length, 1);
  });

  it("takes the successor of a pod that went, under the same name", async () => {
    cluster.addPod("a");
    await cluster.partition("cut", {}, { "squall.dev/follow": "true" });
    const successor = cluster.addPod("a");
    await cluster.pass(0);
    await cluster.pass(0);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
    assert.equal(cluster.experiment("cut").status.experiment.containerRecords?.[0]?.targetUID, successor);
    assert.equal(cluster.agents.of(successor).inForce.length, 1);
  });

  it("is the exception: without the annotation the first choice stays", async () => {
    cluster.addPod("a");
    await cluster.partition("cut");
    const uid = cluster.addPod("b");
    await cluster.pass(0);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
    assert.deepEqual(cluster.agents.of(uid).accepted, []);
  });

  it("is of mode all: of another mode the first choice stays", async () => {
    cluster.addPod("a");
    await cluster.partition("cut", { mode: "one" }, { "squall.dev/follow": "true" });
    cluster.addPod("b");
    await cluster.pass(0);
    assert.equal(cluster.records("cut").length, 1);
  });
});

function unavailable() {
  return new KubeError("unavailable", "the API server is away");
}

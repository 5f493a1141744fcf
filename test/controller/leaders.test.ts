import assert from "node:assert/strict";
import { KubeError } from "../../kube/errors.ts";
import { experimentResource } from "../../kube/experiments.ts";
import { pods } from "../../kube/resources.ts";
import { ExperimentCluster } from "../support/experiment-cluster.ts";
import { networkRulesOf } from "../support/network-faults.ts";

const unavailable = new KubeError("unavailable", "the API server is away");

describe("leaders", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());

  it("take experiments over without a gap and without a write", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut");
    const writes = cluster.writes.length;
    await cluster.takeOver();
    await cluster.pass(30_000);
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
    assert.ok(cluster.agents.of(uid).accepted.every(({ faults }) => faults.length === 1));
    assert.equal(cluster.agents.of(uid).accepted.at(-1)?.order?.leaderEpoch, 2);
    assert.deepEqual(cluster.writes.slice(writes), []);
  });

  it("keep a fault in force whose experiment they cannot visit yet", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("one");
    await cluster.partition("two", {}, { "squall.dev/follow": "true" });
    await cluster.stop();
    // A newcomer makes the visit to "two" write, which fails; and a pod that went makes it ask, which fails too.
    cluster.addPod("b");
    cluster.kube.fail({ verb: "patch", plural: "networkchaos", name: "two", times: 4, error: unavailable });
    const sets = cluster.agents.of(uid).accepted.length;
    await cluster.takeOver();
    await cluster.pass(500);
    const sent = cluster.agents.of(uid).accepted.slice(sets);
    assert.ok(sent.length > 0);
    assert.ok(
      sent.every(({ faults }) => faults.length === 2),
      "no set lacks one of the two",
    );
    await cluster.pass(10_000);
    assert.deepEqual(cluster.records("two"), ["shop/a: Injected", "shop/b: Injected"]);
  });

  it("take back what was to be taken back when the one before died", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut");
    await cluster.stop();
    await cluster.delete("cut");
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
    await cluster.pass(90_000);
    await cluster.takeOver();
    await cluster.pass(1_000);
    assert.equal(cluster.find("cut"), undefined);
    assert.deepEqual(cluster.agents.of(uid).faults, []);
    assert.equal(cluster.unconfirmed, 0, "agents had their time to answer, late as it was");
  });

  it("leave faults to their leases when they go", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut", {}, { "squall.dev/lease": "5s" });
    await cluster.stop();
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
    assert.equal(cluster.agents.of(uid).openStreams, 0);
    await cluster.pass(5_100);
    assert.deepEqual(cluster.agents.of(uid).inForce, []);
  });

  it("write and send nothing once their lease is over, whatever wakes them", async () => {
    const uid = cluster.addPod("a");
    cluster.isLeading = false;
    await cluster.partition("cut");
    await cluster.pass(5_000);
    assert.deepEqual(cluster.writes, []);
    assert.deepEqual(cluster.agents.of(uid).accepted, []);
  });

  it("keep no fault alive once their lease is over, whatever wakes them", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut", {}, { "squall.dev/lease": "6s" });
    await cluster.pass(20_000);
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
    cluster.isLeading = false;
    await cluster.pass(6_100);
    assert.deepEqual(cluster.agents.of(uid).inForce, []);
    const sets = cluster.agents.of(uid).accepted.length;
    cluster.agents.of(uid).restart();
    await cluster.pass(20_000);
    assert.equal(cluster.agents.of(uid).accepted.length, sets);
  });

  it("do not act on a copy older than what they wrote", async () => {
    const uid = cluster.addPod("a");
    cluster.addPod("b");
    // The watch of experiments stands still: the copy stays without records.
    await cluster.partition("cut", { mode: "one" });
    const { resourceVersion } = cluster.experiment("cut").metadata;
    const old = cluster.kube.peek(experimentResource("NetworkChaos"), { namespace: "shop", name: "cut" });
    assert.ok(old);
    const writes = cluster.writes.length;
    cluster.kube.fail({ verb: "watch", plural: "networkchaos", times: 3, error: unavailable });
    cluster.kube.endWatches();
    await cluster.pass(100);
    cluster.addPod("c");
    await cluster.pass(100);
    assert.equal(cluster.experiment("cut").metadata.resourceVersion, resourceVersion);
    assert.deepEqual(cluster.writes.slice(writes), []);
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
  });

  it("write to the newest version when somebody else wrote in between", async () => {
    cluster.addPod("a");
    await cluster.partition("cut", { duration: "30s" });
    cluster.kube.fail({ verb: "watch", plural: "networkchaos", times: 1_000, error: unavailable });
    cluster.kube.endWatches();
    await cluster.annotate("cut", { "example.com/note": "a change that no watch tells of" });
    await cluster.pass(31_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected"]);
    assert.equal(cluster.experiment("cut").metadata.annotations?.["example.com/note"], "a change that no watch tells of");
  });
});

describe("the writes of one experiment", () => {
  async function writesFor(count: number, end: "deleted" | "over", spec: object = {}): Promise<readonly string[]> {
    const cluster = new ExperimentCluster();
    await cluster.start();
    try {
      for (let index = 0; index < count; index += 1) cluster.addPod(`pod-${index}`);
      await cluster.partition("cut", { ...spec, ...(end === "over" && { duration: "10s" }) });
      await cluster.pass(end === "over" ? 11_000 : 5_000);
      await cluster.delete("cut");
      await cluster.pass(1_000);
      assert.equal(cluster.find("cut"), undefined);
      return cluster.writes;
    } finally {
      await cluster.stop();
    }
  }

  it("are seven for one that is deleted: two events to begin, two to end, intent, result, finalizer", async () => {
    assert.deepEqual((await writesFor(1, "deleted")).toSorted(), [
      ...Array<string>(4).fill("create events"),
      "patch networkchaos",
      ...Array<string>(2).fill("patch networkchaos/status"),
    ]);
  });

  it("are eight for one whose time is over", async () => {
    assert.equal((await writesFor(1, "over")).length, 8);
  });

  for (const end of ["deleted", "over"] as const) {
    it(`are as many for 20 pods as for one that is ${end}`, async () => {
      assert.deepEqual((await writesFor(20, end)).toSorted(), (await writesFor(1, end)).toSorted());
    });
  }

  it("are as many where both sides carry a fault", async () => {
    const both = { target: { mode: "all", selector: { namespaces: ["shop"], labelSelectors: { app: "web" } } }, direction: "both" };
    assert.equal((await writesFor(3, "over", both)).length, 8);
  });
});

describe("a pod-kill", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());
  const kill = (name: string, spec: object = {}) => cluster.apply("PodChaos", name, { action: "pod-kill", ...spec });
  const deletions = (): readonly unknown[] =>
    cluster.kube.requests.filter(({ verb, plural }) => verb === "delete" && plural === "pods").map(({ options }) => options);

  it("deletes the pods that were chosen, at once, each only if it is still that pod", async () => {
    const a = cluster.addPod("a");
    const b = cluster.addPod("b");
    await kill("strike");
    assert.deepEqual(deletions(), [
      { gracePeriodSeconds: 0, uid: a },
      { gracePeriodSeconds: 0, uid: b },
    ]);
    assert.deepEqual(cluster.records("strike", "PodChaos"), ["shop/a: Injected", "shop/b: Injected"]);
    assert.equal(cluster.condition("strike", "AllInjected", "PodChaos").status, "True");
    assert.deepEqual(cluster.events("strike"), [
      "Started: Experiment has started",
      "Applied: Successfully apply chaos for shop/a and 1 more",
    ]);
  });

  it("gives them the grace period that was asked for", async () => {
    const uid = cluster.addPod("a");
    await kill("strike", { gracePeriod: 20 });
    assert.deepEqual(deletions(), [{ gracePeriodSeconds: 20, uid }]);
  });

  it("needs no sidecar, only the namespace's consent", async () => {
    cluster.addPod("bare", { hasSidecar: false });
    cluster.addNamespace("private", { isOptedIn: false });
    cluster.addPod("other", { namespace: "private" });
    await kill("strike", { selector: { namespaces: ["shop", "private"] } });
    assert.deepEqual([cluster.hasPod("bare"), cluster.hasPod("other", "private")], [false, true]);
    assert.equal(cluster.experiment("strike", "PodChaos").status.skipped?.[0]?.reason, "NamespaceNotOptedIn");
  });

  it("strikes once: not after a pause, not the successors, not when another leader comes", async () => {
    cluster.addPod("a");
    await kill("strike");
    cluster.addPod("a");
    await cluster.annotate("strike", { "experiment.chaos-mesh.org/pause": "true" }, "PodChaos");
    await cluster.annotate("strike", { "experiment.chaos-mesh.org/pause": null }, "PodChaos");
    await cluster.takeOver();
    await cluster.pass(60_000);
    assert.equal(deletions().length, 1);
    assert.ok(cluster.hasPod("a"));
  });

  it("counts a pod that went by itself after it was chosen", async () => {
    cluster.addPod("a");
    cluster.kube.fail({ verb: "delete", plural: "pods", error: new KubeError("not-found", "gone") });
    await kill("strike");
    assert.deepEqual(cluster.records("strike", "PodChaos"), ["shop/a: Injected TargetGone"]);
  });

  it("says that it may not, and asks ever more seldom", async () => {
    cluster.addPod("a");
    cluster.kube.fail({ verb: "delete", plural: "pods", times: 1_000, error: new KubeError("forbidden", "no rule allows it") });
    await kill("strike");
    assert.deepEqual(cluster.records("strike", "PodChaos"), ["shop/a: Not Injected KillFailed"]);
    assert.ok(cluster.events("strike").includes("Failed: Failed to apply chaos: shop/a: KillFailed: no rule allows it"));
    await cluster.pass(120_000);
    assert.ok(deletions().length < 10, `${deletions().length} attempts`);
    assert.equal(cluster.writes.filter((write) => write === "patch podchaos/status").length, 2);
  });

  it("can be deleted whatever became of it", async () => {
    cluster.addPod("a");
    cluster.kube.fail({ verb: "delete", plural: "pods", times: 1_000, error: new KubeError("forbidden", "no rule allows it") });
    await kill("strike");
    await cluster.delete("strike", "PodChaos");
    assert.equal(cluster.find("strike", "PodChaos"), undefined);
  });
});

describe("the other side of a network fault", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());
  const toStore = {
    action: "delay",
    delay: { latency: "200ms" },
    target: { mode: "all", selector: { namespaces: ["shop"], labelSelectors: { app: "store" } } },
  };
  const networksOf = (uid: string): readonly string[] =>
    cluster.agents.of(uid).faults.flatMap(({ family }) => networkRulesOf(family).flatMap(({ peers }) => peers?.networks ?? []));
  const addStore = (name: string, ip: string, hasSidecar = false): string =>
    cluster.addPod(name, { labels: { app: "store" }, ip, hasSidecar });

  it("needs no sidecar where it carries nothing, and counts as injected at once", async () => {
    const web = cluster.addPod("web");
    addStore("store", "10.244.9.1");
    await cluster.apply("NetworkChaos", "slow", toStore);
    assert.deepEqual(cluster.records("slow"), ["shop/web: Injected", "target shop/store: Injected"]);
    assert.deepEqual(networksOf(web), ["10.244.9.1/32"]);
  });

  it("is matched by its Services too, while all their endpoints are targets", async () => {
    const web = cluster.addPod("web");
    addStore("store", "10.244.9.1");
    cluster.addService("store", "10.96.0.5", [{ ip: "10.244.9.1" }]);
    await cluster.apply("NetworkChaos", "slow", toStore);
    assert.deepEqual(networksOf(web), ["10.244.9.1/32", "10.96.0.5/32"]);
    cluster.addService("store", "10.96.0.5", [{ ip: "10.244.9.1" }, { ip: "10.244.9.77" }]);
    await cluster.pass(0);
    assert.deepEqual(networksOf(web), ["10.244.9.1/32"]);
    assert.deepEqual(cluster.records("slow"), ["shop/web: Injected ServiceNotMatchable", "target shop/store: Injected"]);
    const [record] = cluster.experiment("slow").status.experiment.containerRecords ?? [];
    assert.match(record?.message ?? "", /Packets to Service shop\/store pass/);
    assert.equal(cluster.condition("slow", "AllInjected").status, "True");
  });

  it("is no longer matched once its pod is gone", async () => {
    const web = cluster.addPod("web");
    addStore("one", "10.244.9.1");
    addStore("two", "10.244.9.2");
    await cluster.apply("NetworkChaos", "slow", toStore);
    assert.deepEqual(networksOf(web), ["10.244.9.1/32", "10.244.9.2/32"]);
    cluster.kube.remove(pods, { namespace: "shop", name: "one" });
    await cluster.pass(0);
    assert.deepEqual(networksOf(web), ["10.244.9.2/32"]);
  });

  it("does not blame a Service where the other end drops what comes through it", async () => {
    cluster.addPod("web");
    addStore("store", "10.244.9.1", true);
    cluster.addService("store", "10.96.0.5", [{ ip: "10.244.9.1" }, { ip: "10.244.9.77" }]);
    await cluster.apply("NetworkChaos", "cut", { ...toStore, action: "partition" });
    assert.deepEqual(cluster.records("cut"), ["shop/web: Injected", "target shop/store: Injected"]);
  });

  it("may be the same pod, which then carries two faults", async () => {
    const web = cluster.addPod("web", { ip: "10.244.9.3" });
    const slow = await cluster.apply("NetworkChaos", "slow", {
      ...toStore,
      direction: "both",
      target: { mode: "all", selector: { namespaces: ["shop"], labelSelectors: { app: "web" } } },
    });
    const uid = slow.metadata.uid;
    assert.deepEqual(cluster.agents.of(web).inForce, [`${uid}/.`, `${uid}/.Target`]);
    await cluster.delete("slow");
    assert.equal(cluster.find("slow"), undefined);
    assert.deepEqual(cluster.agents.of(web).inForce, []);
  });
});

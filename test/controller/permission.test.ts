import assert from "node:assert/strict";
import { FINALIZER } from "../../common/names.ts";
import { KubeError } from "../../kube/errors.ts";
import { experimentResource } from "../../kube/experiments.ts";
import { AUTHOR, ExperimentCluster } from "../support/experiment-cluster.ts";

const PAUSE = "experiment.chaos-mesh.org/pause";

describe("before its first fault, an experiment", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());

  it("needs an author", async () => {
    const uid = cluster.addPod("a");
    for (const [name, annotations] of [
      ["nobody", {}],
      ["scribble", { "squall.dev/author": "me" }],
    ] as const) {
      cluster.kube.seed(experimentResource("NetworkChaos"), {
        metadata: { name, namespace: "shop", annotations },
        spec: { action: "partition", mode: "all", selector: { labelSelectors: { app: "web" } } },
      });
      await cluster.pass(60_000);
      assert.match(cluster.selected(name), /^False NoAuthor: Nobody answers for it: .* Delete it and apply it again\.$/);
      assert.equal(cluster.condition(name, "AllInjected").reason, "NoAuthor");
      assert.equal(cluster.experiment(name).status.experiment.desiredPhase, "Stop");
      assert.deepEqual(
        cluster.events(name).map((event) => event.slice(0, 46)),
        ["Failed: Failed to start: Nobody answers for it"],
      );
      assert.deepEqual(cluster.experiment(name).metadata.finalizers, [FINALIZER]);
      await cluster.delete(name);
      assert.equal(cluster.find(name), undefined);
    }
    assert.deepEqual(cluster.agents.of(uid).accepted, []);
    assert.equal(cluster.questions, 0);
  });

  it("needs its author to have the right in every namespace, and starts once they do", async () => {
    const uid = cluster.addPod("a");
    cluster.addNamespace("bank");
    cluster.forbidden.add("bank");
    await cluster.partition("cut", { selector: { namespaces: ["shop", "bank"], labelSelectors: { app: "web" } } });
    await cluster.pass(10_000);
    assert.equal(
      cluster.selected("cut"),
      'False Forbidden: Its author "alice" may not create networkchaos.chaos-mesh.org in namespace bank. Try: kubectl auth can-i create networkchaos.chaos-mesh.org -n bank --as=alice',
    );
    assert.equal(cluster.writes.filter((write) => write.endsWith("/status")).length, 1, "the same is not said twice");
    assert.deepEqual(cluster.agents.of(uid).accepted, []);
    cluster.forbidden.clear();
    await cluster.pass(30_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
    assert.deepEqual(
      cluster.events("cut").map((event) => event.split(":")[0]),
      ["Failed", "Started", "Applied"],
    );
  });

  it("asks at most once per namespace, and less and less often while it is refused, however much else happens", async () => {
    cluster.addNamespace("bank");
    await cluster.partition("cut", { selector: { namespaces: ["shop", "bank"], labelSelectors: { app: "web" } } });
    assert.equal(cluster.questions, 2);
    await cluster.delete("cut");
    cluster.forbidden.add("shop");
    await cluster.partition("refused");
    const before = cluster.questions;
    for (let index = 0; index < 60; index++) {
      cluster.addPod(`p-${index}`, { labels: { app: "other" } });
      await cluster.pass(1_000);
    }
    // after 1, 3, 7, 15, 31 s
    assert.ok(cluster.questions - before <= 6, `${cluster.questions - before} questions`);
  });

  it("waits, and sends nothing, while the API server does not say what its author may do", async () => {
    const uid = cluster.addPod("a");
    cluster.kube.fail({ verb: "create", plural: "subjectaccessreviews", times: 3, error: new KubeError("unavailable", "down") });
    await cluster.partition("cut");
    assert.equal(cluster.experiment("cut").status.conditions, undefined);
    assert.deepEqual(cluster.agents.of(uid).accepted, []);
    await cluster.pass(5_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
  });

  it("kills nothing without the right to", async () => {
    cluster.addPod("a");
    cluster.forbidden.add("shop");
    await cluster.apply("PodChaos", "kill", { action: "pod-kill" });
    await cluster.pass(5_000);
    assert.match(cluster.selected("kill", "PodChaos"), /^False Forbidden: .* may not create podchaos\.chaos-mesh\.org in namespace shop/);
    assert.ok(cluster.hasPod("a"));
  });

  it("is looked at again after a pause, and not while it runs", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut");
    cluster.forbidden.add("shop");
    await cluster.pass(60_000);
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
    await cluster.takeOver();
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
    await cluster.annotate("cut", { [PAUSE]: "true" });
    await cluster.annotate("cut", { [PAUSE]: null });
    assert.equal(cluster.agents.of(uid).inForce.length, 0);
    assert.equal(cluster.condition("cut", "AllInjected").reason, "Forbidden");
    assert.equal(cluster.selected("cut"), "True TargetsSelected: 1 target picked.");
    cluster.forbidden.clear();
    await cluster.pass(2_000);
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
  });

  it("does not come back after a pause to a namespace that opted out meanwhile", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut");
    await cluster.annotate("cut", { [PAUSE]: "true" });
    cluster.addNamespace("shop", { isOptedIn: false });
    await cluster.annotate("cut", { [PAUSE]: null });
    assert.equal(cluster.agents.of(uid).inForce.length, 0);
    assert.match(cluster.condition("cut", "AllInjected").message ?? "", /^The namespace shop has opted out since/);
    cluster.addNamespace("shop");
    await cluster.pass(2_000);
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
  });

  it("is not asked about at all where it would not run anyway", async () => {
    cluster.addPod("a");
    await cluster.partition("late", { duration: "0s" });
    await cluster.partition("paused", {}, { [PAUSE]: "true", "squall.dev/author": AUTHOR });
    assert.equal(cluster.questions, 0);
    await cluster.delete("paused");
    assert.equal(cluster.find("paused"), undefined);
  });
});

import assert from "node:assert/strict";
import { touchPods } from "../../api/blocks/selector.ts";
import type { KindName } from "../../api/kinds/registry.ts";
import { describeRight, reachOf, suggestQuestion } from "../../api/reach.ts";

const delay = { action: "delay", mode: "all", delay: { latency: "200ms" } };

/** `spec.selector.namespaces[0]: create networkchaos.chaos-mesh.org in namespace shop` for each right. */
const reach = (kind: KindName, spec: object, namespace = "shop"): readonly string[] =>
  reachOf(kind, { spec }, { namespace }).map((right) => `${right.path}: ${describeRight(right)}`);

describe("reachOf", () => {
  it("is the own namespace alone for a selector that names none", () =>
    assert.deepEqual(reach("NetworkChaos", delay), ["metadata.namespace: create networkchaos.chaos-mesh.org in namespace shop"]));

  it("is every namespace of the selector, by list and by name of pods, each once", () => {
    const selector = { namespaces: ["bank", "shop", "bank"], pods: { "data-1": ["db-0"], bank: ["till"] } };
    assert.deepEqual(reach("PodChaos", { action: "pod-kill", mode: "one", selector }), [
      "metadata.namespace: create podchaos.chaos-mesh.org in namespace shop",
      "spec.selector.namespaces[0]: create podchaos.chaos-mesh.org in namespace bank",
      "spec.selector.pods.data-1: create podchaos.chaos-mesh.org in namespace data-1",
    ]);
  });

  it("counts the other side of a NetworkChaos", () => {
    const target = { mode: "all", selector: { namespaces: ["bank"] } };
    assert.deepEqual(reach("NetworkChaos", { ...delay, target }).slice(1), [
      "spec.target.selector.namespaces[0]: create networkchaos.chaos-mesh.org in namespace bank",
    ]);
  });

  it("takes a remote cluster for a thing to be used", () => {
    const right = reachOf("NetworkChaos", { spec: { ...delay, remoteCluster: "west" } }, { namespace: "shop" }).at(-1) ?? assert.fail();
    assert.equal(`${right.path}: ${describeRight(right)}`, "spec.remoteCluster: use remoteclusters.chaos-mesh.org west");
    assert.equal(suggestQuestion(right), " Try: kubectl auth can-i use remoteclusters.chaos-mesh.org/west");
  });

  it("is put into words that forge no line and no command", () => {
    const selector = { pods: { "x\n  $(reboot)": ["a"] } };
    const right =
      reachOf("PodChaos", { spec: { action: "pod-kill", mode: "one", selector } }, { namespace: "shop" }).at(-1) ?? assert.fail();
    assert.equal(describeRight(right), 'create podchaos.chaos-mesh.org in namespace "x\\n  $(reboot)"');
    assert.equal(suggestQuestion(right), "");
    assert.equal(suggestQuestion({ ...right, namespace: "shop" }, "$(reboot)"), "");
    assert.equal(
      suggestQuestion({ ...right, namespace: "shop" }, "alice"),
      " Try: kubectl auth can-i create podchaos.chaos-mesh.org -n shop --as=alice",
    );
    assert.match(suggestQuestion({ ...right, namespace: undefined }), / --all-namespaces$/);
  });

  it("is not asked about what is wrong", () =>
    assert.throws(() => reachOf("NetworkChaos", { spec: {} }, { namespace: "shop" }), /before it was found right/));
});

describe("touchPods", () => {
  it("is the whole cluster where no namespace is named and none was filled in", () => {
    assert.deepEqual(touchPods({ selector: { labelSelectors: { app: "web" } } }, "spec.target"), [
      { on: "cluster", path: "spec.target.selector" },
    ]);
    assert.deepEqual(touchPods({ selector: { namespaces: [], pods: {} } }), [{ on: "cluster", path: "spec.selector" }]);
  });
});

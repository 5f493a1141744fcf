import assert from "node:assert/strict";
import { SIDECAR_CONTAINER } from "../../common/names.ts";
import { binderOf } from "../../controller/kinds/translators.ts";
import { joinTargets, pickTargets, type Surroundings } from "../../controller/picking.ts";
import { type Pod, pods as podResource } from "../../kube/resources.ts";

const pod = (index: number): Pod =>
  podResource.parse({
    metadata: { name: `${"w".repeat(200)}-${index}`, namespace: "shop", uid: `0cf7a4d4-7a4e-4b52-9a3e-${index}` },
    spec: { nodeName: "node-1", initContainers: [{ name: SIDECAR_CONTAINER }] },
    status: { phase: "Running", podIP: "10.0.0.1" },
  });
const podsUpTo = (count: number): readonly Pod[] => Array.from({ length: count }, (_, index) => pod(index));
const around = (pods: readonly Pod[]): Surroundings => ({
  pods,
  nodes: [],
  optInOf: () => "sidecars",
  passportOf: () => undefined,
  hasDaemon: () => true,
  protects: () => undefined,
  whyOverBudget: () => undefined,
});

describe("joinTargets", () => {
  it("says of newcomers that one object cannot hold their records, of the first hundred", () => {
    const binding = binderOf("NetworkChaos")({
      metadata: { namespace: "shop" },
      spec: { action: "partition", mode: "all", selector: { namespaces: ["shop"] } },
    });
    assert.ok(binding.can === "run");
    const { selectors } = binding.bound;
    const { pick } = pickTargets(selectors, around(podsUpTo(3_000)), () => 0);
    assert.equal(pick.records.length, 3_000);
    const { records, skipped } = joinTargets(pick, selectors, around(podsUpTo(6_000)));
    assert.equal(records, pick.records);
    assert.equal(skipped.length, 100);
    assert.ok(skipped.every(({ reason }) => reason === "TooManyTargets"));
    const later = joinTargets({ records, skipped }, selectors, around(podsUpTo(3_001)));
    assert.equal(later.records.length, 3_001);
    assert.deepEqual(later.skipped, []);
  });
});

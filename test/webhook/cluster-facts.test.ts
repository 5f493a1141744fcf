import assert from "node:assert/strict";
import { daemonSets } from "../../kube/resources.ts";
import { isImageReady } from "../../webhook/cluster-facts.ts";

describe("isImageReady", () => {
  const holder = (wanted: number, updated: number, ready: number, { image = "squall:2", observed = 2 } = {}) =>
    daemonSets.parse({
      metadata: { name: "squall-image", namespace: "squall-system", uid: "u", generation: 2 },
      spec: { template: { spec: { containers: [{ name: "squall-image", image }] } } },
      status: { observedGeneration: observed, desiredNumberScheduled: wanted, updatedNumberScheduled: updated, numberReady: ready },
    });

  const rows: readonly (readonly [what: string, wanted: number, updated: number, ready: number, isReady: boolean])[] = [
    ["the only node has it", 1, 1, 1, true],
    ["the only node pulls it", 1, 1, 0, false],
    ["the only node has the old one", 1, 0, 1, false],
    ["no node is to have it", 0, 0, 0, false],
    ["all of 100 have it", 100, 100, 100, true],
    ["one of 100 is not ready", 100, 100, 99, true],
    ["one has just joined 100", 101, 100, 100, true],
    ["half of 4 have it", 4, 4, 2, true],
    ["2 of 5 have it", 5, 5, 2, false],
    ["3 of 5 have it", 5, 5, 3, true],
    ["4 are ready, of which 2 may be old ones", 4, 2, 4, true],
    ["3 are ready, of which 2 may be old ones", 4, 2, 3, false],
    ["all are ready with the old one", 4, 0, 4, false],
  ];
  for (const [what, wanted, updated, ready, expected] of rows)
    it(`${expected ? "holds" : "does not hold"} when ${what}`, () =>
      assert.equal(isImageReady(holder(wanted, updated, ready), "squall:2"), expected));

  it("does not hold for another image, a status of before, and a DaemonSet that is not there", () => {
    assert.equal(isImageReady(holder(1, 1, 1, { image: "squall:1" }), "squall:2"), false);
    assert.equal(isImageReady(holder(1, 1, 1, { observed: 1 }), "squall:2"), false);
    assert.equal(isImageReady(undefined, "squall:2"), false);
  });
});

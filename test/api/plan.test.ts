import assert from "node:assert/strict";
import type { JsonObject } from "../../api/json.ts";
import { planAct } from "../../api/plan.ts";
import { actsOf } from "../../api/policy/acts.ts";
import { readPolicy } from "../../api/policy/read.ts";
import { pods as podResource, type Pod } from "../../kube/resources.ts";

function pod(name: string, { app = "web", owner = "web", hasSidecar = true, phase = "Running", deletedAt = "" } = {}): Pod {
  return podResource.parse({
    metadata: {
      name,
      namespace: "shop",
      uid: name,
      labels: { app, pod: name },
      ...(deletedAt !== "" && { deletionTimestamp: deletedAt }),
      ownerReferences: [{ kind: "StatefulSet", name: owner, uid: owner, controller: true }],
    },
    spec: { nodeName: "n", initContainers: hasSidecar ? [{ name: "squall-sidecar" }] : [] },
    status: { phase, podIP: "10.0.0.1" },
  });
}

const all = [pod("a"), pod("b"), pod("c", { hasSidecar: false }), pod("d"), pod("db", { app: "db", owner: "db" })];

function plan(spec: object, policies: readonly object[] = [], pods: readonly Pod[] = all) {
  const raw: JsonObject = {
    spec: { action: "delay", delay: { latency: "1ms" }, mode: "all", selector: { labelSelectors: { app: "web" } }, ...spec },
  };
  const [act] = actsOf("NetworkChaos", raw, { namespace: "shop" });
  assert.ok(act);
  return planAct<Pod>(act, {
    pods,
    nodes: [],
    policies: policies.flatMap((policy, index) => readPolicy({ metadata: { name: `p${index}` }, spec: policy }) ?? []),
    labelsOf: () => ({}),
    optInOf: () => "sidecars",
  });
}

const names = (found: readonly Pod[]): readonly string[] => found.map(({ metadata }) => metadata.name);

describe("planAct", () => {
  it("tells candidates from those that are skipped, and what chance decides", () => {
    const [selection] = plan({ mode: "fixed", value: "2" }).selections;
    assert.deepEqual(names(selection?.candidates ?? []), ["a", "b", "d"]);
    assert.deepEqual(
      selection?.skipped.map(({ pod: skipped, skip }) => [skipped.metadata.name, skip.reason]),
      [["c", "NotInjected"]],
    );
    assert.deepEqual([selection?.least, selection?.most, selection?.isRandom], [2, 2, true]);
  });

  it("counts what each mode may draw", () => {
    const counts = (mode: string, value?: string) => {
      const [selection] = plan({ mode, ...(value !== undefined && { value }) }).selections;
      return [selection?.least, selection?.most, selection?.isRandom];
    };
    assert.deepEqual(counts("all"), [3, 3, false]);
    assert.deepEqual(counts("one"), [1, 1, true]);
    assert.deepEqual(counts("fixed", "7"), [3, 3, false]);
    assert.deepEqual(counts("fixed-percent", "50"), [2, 2, true]);
    assert.deepEqual(counts("random-max-percent", "100"), [0, 3, true]);
  });

  it("needs no sidecar of the other side, and does not count its share", () => {
    const { selections, shares } = plan({ target: { mode: "all", selector: { labelSelectors: { app: "db" } } } });
    assert.deepEqual(
      selections.map(({ key, isFaulted, candidates }) => [key, isFaulted, names(candidates)]),
      [
        [".", true, ["a", "b", "d"]],
        [".Target", false, ["db"]],
      ],
    );
    assert.deepEqual(shares, [{ workload: "shop/StatefulSet/web", size: 4, most: 3 }]);
  });

  it("counts only pods that are alive in the size of a workload", () => {
    const dead = [pod("x", { phase: "Failed" }), pod("y", { phase: "Succeeded" }), pod("z", { deletedAt: "2026-01-01T00:00:00Z" })];
    const { shares, tooSmall } = plan({}, [{ budget: { maxPercent: 50 } }], [pod("a"), ...dead]);
    assert.deepEqual([shares, tooSmall], [[{ workload: "shop/StatefulSet/web", size: 1, most: 1 }], ["p0"]]);
  });

  it("names the policies that have a say, leaves protected pods out, and finds budgets that are too small", () => {
    const budget = { budget: { maxPercent: 50 }, protected: [{ matchLabels: { pod: "a" } }] };
    const { selections, policies, tooSmall, shares } = plan({}, [budget, { namespaces: ["bank"] }]);
    assert.deepEqual(policies, ["p0"]);
    assert.deepEqual(selections[0]?.skipped.map(({ pod: { metadata }, skip }) => `${metadata.name} ${skip.reason}`).toSorted(), [
      "a Protected",
      "c NotInjected",
    ]);
    assert.deepEqual([shares[0]?.most, tooSmall], [2, []]);
    assert.deepEqual(plan({}, [{ budget: { maxPods: 2 } }]).tooSmall, ["p0"]);
  });
});

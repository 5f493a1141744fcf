import assert from "node:assert/strict";
import { workloadOf, whyOverBudget } from "../../../api/policy/budget.ts";
import type { Policy } from "../../../api/policy/violations.ts";

const policy = (budget: { readonly maxPods?: number; readonly maxPercent?: number }): Policy => ({
  name: "p",
  spec: { enabled: true, budget },
});

describe("workloadOf", () => {
  const owned = (kind: string, name: string, labels = {}): string =>
    workloadOf({
      metadata: {
        name: "x",
        namespace: "shop",
        labels,
        ownerReferences: [
          { kind: "Node", name: "n" },
          { kind, name, controller: true },
        ],
      },
    });

  it("is the Deployment behind a ReplicaSet, else the controller that owns the pod, else the pod", () => {
    assert.equal(owned("ReplicaSet", "web-7d9f", { "pod-template-hash": "7d9f" }), "shop/Deployment/web");
    assert.equal(owned("ReplicaSet", "web-7d9f"), "shop/ReplicaSet/web-7d9f");
    assert.equal(owned("ReplicaSet", "web-7d9f", { "pod-template-hash": "other" }), "shop/ReplicaSet/web-7d9f");
    assert.equal(owned("StatefulSet", "db"), "shop/StatefulSet/db");
    assert.equal(workloadOf({ metadata: { name: "lone", namespace: "shop" } }), "shop/Pod/lone");
  });
});

describe("whyOverBudget", () => {
  const use = { workload: "shop/Deployment/web", size: 10, inUse: 2 };

  it("grants up to the number and up to the share, rounded down", () => {
    assert.equal(whyOverBudget([policy({ maxPods: 3 })], { ...use, wanted: 3 }), undefined);
    assert.equal(whyOverBudget([policy({ maxPercent: 39 })], { ...use, wanted: 3 }), undefined);
    assert.equal(whyOverBudget([policy({})], { ...use, wanted: 10 }), undefined);
  });

  it("names workload, use, policy, rule and limit", () => {
    assert.equal(
      whyOverBudget([policy({ maxPods: 3 })], { ...use, wanted: 4 }),
      "shop/Deployment/web has 10 pods, 2 of them faulted already, and 4 would be; policy p (spec.budget.maxPods) allows 3.",
    );
    assert.equal(
      whyOverBudget([policy({ maxPercent: 39 })], { ...use, wanted: 4 }),
      "shop/Deployment/web has 10 pods, 2 of them faulted already, and 4 would be; policy p (spec.budget.maxPercent) allows 39 %, which is 3.",
    );
  });
});

import assert from "node:assert/strict";
import { pods } from "../../kube/resources.ts";
import { createForecast } from "../../webhook/forecast.ts";
import { admit, reviewOf } from "../support/admission.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { FakeKube } from "../support/fake-kube.ts";

const delay = {
  action: "delay",
  mode: "fixed-percent",
  value: "50",
  selector: { labelSelectors: { app: "web" } },
  delay: { latency: "1ms" },
};

describe("a dry run", () => {
  const kube = new FakeKube();
  for (let index = 0; index < 6; index++)
    kube.seed(pods, {
      metadata: {
        name: `secret-${index}`,
        namespace: "shop",
        labels: { app: "web" },
        ownerReferences: [{ kind: "StatefulSet", name: "hidden", uid: "h", controller: true }],
      },
      spec: { initContainers: index < 4 ? [{ name: "squall-sidecar" }] : [] },
      status: { phase: "Running", podIP: `10.0.0.${index}` },
    });
  const forecastWith = (
    policies: readonly { readonly name: string; readonly spec: { readonly enabled: true; readonly budget?: { maxPods: number } } }[] = [],
  ) => createForecast({ kube, limits: { policies }, labelsOf: () => ({ "squall.dev/inject": "enabled" }), clock: new FakeClock() });

  it("tells how many pods match, are skipped and would be picked, and the largest share of a workload, without a name", async () => {
    const { verdict, warnings } = await admit(reviewOf(delay, { dryRun: true }), { forecast: forecastWith() });
    assert.ok(verdict.isAllowed);
    assert.deepEqual(warnings, [
      "Plan: 6 pods match, 4 can be faulted, 2 would be picked at random.",
      "Plan: 2 would be skipped: NotInjected (2). See docs/reasons.md.",
      "Plan: 1 workload touched; of the one touched most, up to 2 of 6 pods (33 %).",
    ]);
    assert.ok(!/secret|hidden/.test(warnings.join()));
  });

  it("tells what budgets say", async () => {
    for (const [maxPods, said] of [
      [2, "Plan: within the budget of small, as far as no other experiment faults the same workloads."],
      [1, "Plan: more pods of one workload than the budget of small allows; it may wait with BudgetExceeded."],
    ] as const) {
      const forecast = forecastWith([{ name: "small", spec: { enabled: true, budget: { maxPods } } }]);
      assert.equal((await admit(reviewOf(delay, { dryRun: true }), { forecast })).warnings.at(-1), said);
    }
  });

  it("says nothing where it is no dry run, and no more than kubectl shows", async () => {
    assert.deepEqual((await admit(reviewOf(delay), { forecast: forecastWith() })).warnings, []);
    const many = { ...delay, selector: { namespaces: Array.from({ length: 51 }, (_, index) => `n${index}`) } };
    const { warnings } = await admit(reviewOf(many, { dryRun: true }), { forecast: forecastWith() });
    assert.deepEqual(warnings, [
      "Plan: more than 50 namespaces are touched, too many to count pods in a dry run. Use squall plan -f FILE.",
    ]);
  });

  it("is answered where pods cannot be counted", async () => {
    class Refusing extends FakeKube {
      override list(): Promise<never> {
        return Promise.reject(new Error("The API server is away."));
      }
    }
    const forecast = createForecast({
      kube: new Refusing(),
      limits: { policies: [] },
      labelsOf: () => ({ "squall.dev/inject": "enabled" }),

      clock: new FakeClock(),
    });
    const { verdict, warnings } = await admit(reviewOf(delay, { dryRun: true }), { forecast });
    assert.deepEqual([verdict.isAllowed, warnings], [true, ["Plan: pods could not be counted. The API server is away."]]);
  });
});

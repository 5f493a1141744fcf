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

describe("an experiment on files", () => {
  const kube = new FakeKube();
  const env = [{ name: "SQUALL_VOLUMES", value: '[{"name":"data","source":"claim"}]' }];
  for (const [name, mountPath, isServed] of [
    ["db-0", "/data", true],
    ["db-1", "/var/data", true],
    ["db-2", "/var/data", true],
    ["db-3", "/data", false],
  ] as const)
    kube.seed(pods, {
      metadata: { name, namespace: "shop", labels: { app: "db" } },
      spec: {
        volumes: [{ name: "data", persistentVolumeClaim: { claimName: name } }],
        containers: [{ name: "db", volumeMounts: [{ name: "data", mountPath }] }],
        initContainers: [{ name: "squall-sidecar", env: isServed ? env : [] }],
      },
      status: { phase: "Running", podIP: "10.0.0.1" },
    });
  const forecast = createForecast({
    kube,
    limits: { policies: [] },
    labelsOf: () => ({ "squall.dev/inject": "enabled" }),
    clock: new FakeClock(),
  });
  const full = (spec: object = {}) => ({
    action: "fault",
    errno: 28,
    mode: "all",
    selector: { labelSelectors: { app: "db" } },
    volumePath: "/data",
    ...spec,
  });
  const lacks = [
    'NoVolume: spec.volumePath: Container db has no volume at "/data". Served through FUSE are "/var/data" (volume data). So it is with 2 of 4 pods.',
    'VolumeNotServed: spec.volumePath: Container db has volume data at "/data", which is not served through FUSE. Add it to the annotation squall.dev/volumes of the pod template, and roll the workload out. So it is with 1 of 4 pods.',
  ];
  const create = (spec: object, more: object = {}) => admit(reviewOf(spec, { kindName: "IOChaos", ...more }), { forecast });

  it("is admitted with a warning for pods without the volume, that says what they have", async () => {
    const { verdict, warnings } = await create(full());
    assert.deepEqual([verdict.isAllowed, warnings], [true, lacks]);
    assert.ok(!/db-\d/.test(warnings.join()));
  });

  it("hears the same in a dry run, beside the plan", async () => {
    const { warnings } = await create(full(), { dryRun: true });
    assert.deepEqual(warnings, [
      "Plan: 4 pods match, 1 can be faulted, 1 would be picked.",
      "Plan: 3 would be skipped: NoVolume (2), VolumeNotServed (1). See docs/reasons.md.",
      "Plan: 1 workload touched; of the one touched most, up to 1 of 1 pod (100 %).",
      ...lacks,
    ]);
  });

  it("is admitted without a word where no pod matches yet, or all have the volume", async () => {
    assert.deepEqual((await create(full({ selector: { labelSelectors: { app: "later" } } }))).warnings, []);
    assert.deepEqual((await create(full({ selector: { pods: { shop: ["db-0"] } } }))).warnings, []);
  });

  it("is admitted where pods cannot be listed", async () => {
    class Refusing extends FakeKube {
      override list(): Promise<never> {
        return Promise.reject(new Error("The API server is away."));
      }
    }
    const away = createForecast({ kube: new Refusing(), limits: { policies: [] }, labelsOf: () => ({}), clock: new FakeClock() });
    const { verdict, warnings } = await admit(reviewOf(full(), { kindName: "IOChaos" }), { forecast: away });
    assert.deepEqual([verdict.isAllowed, warnings], [true, []]);
  });
});

import assert from "node:assert/strict";
import { planInjection } from "../../api/injection.ts";
import { planSamples } from "../../api/injection-sample.ts";
import { qualityOf } from "../../api/quality-of-service.ts";

const injectionFacts = {
  image: "squall:1",
  version: "1",
  enrolmentAddress: "enrolment:9444",
  logLevel: "info",
  isImageReady: true,
  kubernetesMinor: 34,
  namespaceAnnotations: {},
};
const none = { quotas: [], minima: [] };
interface Spec {
  readonly containers: readonly [
    { readonly image: string; readonly resources: Readonly<Record<string, Readonly<Record<string, string>>>> },
  ];
}
const specOf = (sample: { readonly plain: { readonly spec: object } } | undefined): Spec =>
  (sample ?? assert.fail("no sample")).plain.spec as Spec;

describe("planSamples", () => {
  it("has one pod of each class, thrice: as it is, asking for a sidecar, and with a volume that is to be served", () => {
    const samples = planSamples("shop", none, undefined);
    assert.deepEqual(
      samples.map(({ quality, plain }) => [quality, qualityOf({ ...plain.spec })]),
      [
        ["BestEffort", "BestEffort"],
        ["Burstable", "Burstable"],
        ["Guaranteed", "Guaranteed"],
      ],
    );
    for (const { plain, injected, served } of samples) {
      const injection = planInjection({ ...served }, injectionFacts, { isTrial: true });
      assert.ok(injection.do === "inject");
      assert.deepEqual(injection.warnings, []);
      assert.match(JSON.stringify(injection.patch), /DAC_OVERRIDE/);
      assert.deepEqual(plain.metadata.labels, {});
      assert.deepEqual(injected.metadata.labels, { "squall.dev/inject": "enabled" });
      assert.deepEqual(injected, { ...plain, metadata: { ...plain.metadata, labels: injected.metadata.labels } });
      assert.equal(plain.metadata.annotations["squall.dev/injection-sample"], "true");
    }
  });

  it("asks for as little as the namespace allows", () => {
    const minima = [{ cpu: "100m" }, { cpu: "0.25", memory: "1Gi" }];
    assert.deepEqual(specOf(planSamples("shop", { ...none, minima }, undefined)[2]).containers[0].resources["requests"], {
      cpu: "250m",
      memory: "1073741824",
    });
    assert.deepEqual(specOf(planSamples("shop", none, undefined)[1]).containers[0].resources, {
      requests: { cpu: "10m", memory: "16777216" },
      limits: { cpu: "11m", memory: "18454938" },
    });
  });

  it("states storage where a quota or a limit range speaks of it", () => {
    for (const rules of [
      { ...none, quotas: [{ "limits.ephemeral-storage": "1Gi" }] },
      { ...none, minima: [{ "ephemeral-storage": "1Mi" }] },
    ])
      assert.equal(specOf(planSamples("shop", rules, undefined)[2]).containers[0].resources["limits"]?.["ephemeral-storage"], "1048576");
  });

  it("looks like a pod that lives there, but for the label that asks for a sidecar", () => {
    const model = { labels: { team: "a", "squall.dev/inject": "enabled" }, image: "registry.example.com/app:1" };
    const [sample] = planSamples("shop", none, model);
    assert.deepEqual(sample?.plain.metadata.labels, { team: "a" });
    assert.equal(specOf(sample).containers[0].image, model.image);
  });
});

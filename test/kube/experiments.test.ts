import assert from "node:assert/strict";
import { experimentNames } from "../../api/kinds/experiments.ts";
import { isKubeError } from "../../kube/errors.ts";
import { experimentResource } from "../../kube/experiments.ts";
import { FakeKube } from "../support/fake-kube.ts";

const metadata = { name: "slow", namespace: "shop", annotations: { "kubectl.kubernetes.io/last-applied-configuration": "{}", a: "b" } };

describe("experimentResource", () => {
  for (const kind of experimentNames)
    it(`reads and writes ${kind}, with its spec untouched and its status parsed`, async () => {
      const kube = new FakeKube();
      const resource = experimentResource(kind);
      assert.equal(experimentResource(kind), resource);
      const made = await kube.create(resource, { metadata, spec: { anything: { at: ["all"] } } });
      assert.deepEqual([made.apiVersion, made.kind, made.spec], ["chaos-mesh.org/v1alpha1", kind, { anything: { at: ["all"] } }]);
      assert.deepEqual(made.status, { experiment: {} });
      assert.deepEqual(made.metadata.annotations, { a: "b" });
      const patch = { status: { experiment: { desiredPhase: "Run" } } };
      const patched = await kube.patch(resource, metadata, patch, { type: "merge", subresource: "status" });
      assert.equal(patched.status.experiment.desiredPhase, "Run");
    });

  it("refuses a status that the CRD would not have let in, with its path", () => {
    const raw = {
      kind: "PodChaos",
      metadata: { ...metadata, uid: "u", resourceVersion: "1" },
      status: { experiment: { desiredPhase: "Walk" } },
    };
    assert.throws(
      () => experimentResource("PodChaos").parse(raw),
      (error) => isKubeError(error, "unexpected") && /status\.experiment\.desiredPhase/.test(error.message),
    );
  });
});

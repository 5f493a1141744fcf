import assert from "node:assert/strict";
import jsonpatch from "fast-json-patch";
import type { AdmissionRequest } from "../../webhook/admission-review.ts";
import { mutateExperiment, validateExperiment } from "../../webhook/experiments.ts";

const strict = { admitUnsupported: false };
const delay = { action: "delay", mode: "all", delay: { latency: "200ms" } };

function request(
  spec: unknown,
  more: Partial<AdmissionRequest> & { readonly metadata?: object; readonly kindName?: string } = {},
): AdmissionRequest {
  const { metadata = {}, kindName = "NetworkChaos", ...rest } = more;
  const object = {
    apiVersion: "chaos-mesh.org/v1alpha1",
    kind: kindName,
    metadata: { name: "slow", namespace: "shop", ...metadata },
    spec,
  };
  return {
    uid: "1",
    kind: { group: "chaos-mesh.org", version: "v1alpha1", kind: kindName },
    namespace: "shop",
    operation: "CREATE",
    object,
    ...rest,
  };
}

describe("mutateExperiment", () => {
  it("fills defaults in and adds the finalizer at CREATE", () => {
    const asked = request(delay);
    const { patch = [], isAllowed } = mutateExperiment(asked, strict);
    assert.ok(isAllowed);
    const object = jsonpatch.applyPatch(structuredClone(asked.object), patch).newDocument as {
      readonly metadata: { readonly finalizers: unknown };
      readonly spec: object;
    };
    assert.deepEqual(object.metadata.finalizers, ["chaos-mesh/records"]);
    assert.deepEqual(object.spec, {
      ...delay,
      direction: "to",
      selector: { namespaces: ["shop"] },
      delay: { latency: "200ms", jitter: "0ms", correlation: "0" },
    });
    assert.deepEqual(mutateExperiment({ ...asked, object: { ...object } }, strict).patch, []);
  });

  it("keeps the finalizers of others, and adds none at UPDATE", () => {
    const { patch = [] } = mutateExperiment(request(delay, { metadata: { finalizers: ["theirs"] } }), strict);
    assert.ok(patch.some((step) => step.op === "add" && step.path === "/metadata/finalizers/1" && step.value === "chaos-mesh/records"));
    const update = mutateExperiment(request(delay, { operation: "UPDATE" }), strict);
    assert.ok(!(update.patch ?? []).some(({ path }) => path.startsWith("/metadata")));
  });

  it("tells all mistakes in one message, with code, name and paths", () => {
    const { isAllowed, code, message } = mutateExperiment(request({ action: "dely", mode: "fixed" }), strict);
    assert.equal(isAllowed, false);
    assert.equal(code, "InvalidSpec");
    assert.match(message, /^\d+ mistakes? in NetworkChaos slow\.\n {2}spec\.action: "dely" is none of/);
  });
});

describe("validateExperiment", () => {
  it("refuses what cannot be carried out yet, and admits it with a warning when told to", () => {
    const spec = { ...delay, remoteCluster: "west" };
    const refused = validateExperiment(request(spec), strict);
    assert.equal(refused.code, "NotYetSupported");
    assert.match(refused.message, /spec\.remoteCluster: /);
    const admitted = mutateExperiment(request(spec), { admitUnsupported: true });
    assert.ok(admitted.isAllowed);
    assert.match(admitted.warnings?.[0] ?? "", /^NotYetSupported: spec\.remoteCluster: .* has no effect/);
  });

  it("refuses a change of spec with the words that scripts look for, and names it", () => {
    const old = request(delay).object;
    const verdict = validateExperiment(request({ ...delay, delay: { latency: "300ms" } }, { operation: "UPDATE", oldObject: old }), strict);
    assert.equal(verdict.isAllowed, false);
    assert.match(verdict.message, /^Cannot update chaos spec: .*\n {2}spec\.delay\.latency: was "200ms" and cannot become "300ms"/);
  });

  it("lets metadata change, and takes empty for absent", () => {
    const old = { ...request({ ...delay, selector: { namespaces: ["shop"], labelSelectors: {} }, direction: "to" }).object };
    const verdict = validateExperiment(
      request(delay, { operation: "UPDATE", oldObject: old, metadata: { annotations: { "experiment.chaos-mesh.org/pause": "true" } } }),
      strict,
    );
    assert.deepEqual([verdict.isAllowed, verdict.message], [true, ""]);
  });

  it("lets metadata of a spec change that it would not admit today, so that the experiment can be paused and let go", () => {
    const paused = { annotations: { "experiment.chaos-mesh.org/pause": "true" } };
    for (const spec of [{ nonsense: true }, { ...delay, remoteCluster: "west" }]) {
      const update = request(spec, { operation: "UPDATE", oldObject: request(spec).object, metadata: paused });
      for (const review of [mutateExperiment, validateExperiment])
        assert.deepEqual([review(update, strict).isAllowed, review(update, strict).code], [true, ""]);
      assert.ok(!validateExperiment({ ...update, object: { ...update.object, spec: { ...spec, mode: "some" } } }, strict).isAllowed);
    }
  });

  it("judges nothing at DELETE", () => {
    const asked = request({ nonsense: true }, { operation: "DELETE" });
    assert.deepEqual(validateExperiment(asked, strict), mutateExperiment({ ...asked, object: null, oldObject: asked.object }, strict));
    assert.ok(validateExperiment(asked, strict).isAllowed);
  });

  it("never holds up a deletion, however broken the object is", () => {
    const verdict = validateExperiment(
      request({ nonsense: true }, { operation: "UPDATE", metadata: { deletionTimestamp: "2026-01-01T00:00:00Z" } }),
      strict,
    );
    assert.ok(verdict.isAllowed);
  });

  it("leaves kinds alone that it does not know", () =>
    assert.ok(validateExperiment(request({}, { kindName: "SomethingNew" }), strict).isAllowed));
});

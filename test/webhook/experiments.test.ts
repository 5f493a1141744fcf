import assert from "node:assert/strict";
import type { JsonObject } from "../../api/json.ts";
import { annotations } from "../../common/names.ts";
import { allowed } from "../../webhook/admission-review.ts";
import { mutateExperiment, validateExperiment } from "../../webhook/experiments.ts";
import { admit, everythingGoes, noForecast, noLimits, reviewOf, strict } from "../support/admission.ts";

const delay = { action: "delay", mode: "all", delay: { latency: "200ms" } };
const stored = async (spec: unknown): Promise<Record<string, unknown>> => ({ ...(await admit(reviewOf(spec))).object });
const metadataOf = (object: JsonObject): { readonly finalizers?: unknown; readonly annotations?: Readonly<Record<string, string>> } =>
  object["metadata"] ?? {};
const changed = (object: JsonObject, metadata: object): Record<string, unknown> => ({
  ...object,
  metadata: { ...metadataOf(object), ...metadata },
});

describe("mutateExperiment", () => {
  it("fills defaults in, writes the author down and adds the finalizer at CREATE", async () => {
    const { object } = await admit(reviewOf(delay));
    assert.deepEqual(metadataOf(object), {
      name: "slow",
      namespace: "shop",
      annotations: { [annotations.author]: '{"username":"alice","uid":"u-1","groups":["shop-team"]}' },
      finalizers: ["chaos-mesh/records"],
    });
    assert.deepEqual(object["spec"], {
      ...delay,
      direction: "to",
      selector: { namespaces: ["shop"] },
      delay: { latency: "200ms", jitter: "0ms", correlation: "0" },
    });
    assert.deepEqual(mutateExperiment(reviewOf(delay, { object: { ...object } }), strict).patch, []);
  });

  it("warns of what nothing comes of when an experiment is made, and not again", async () => {
    const spec = { action: "pod-kill", mode: "one", value: "1", duration: "30s" };
    const { object, warnings } = await admit(reviewOf(spec, { kindName: "PodChaos" }));
    assert.deepEqual(warnings, [
      "NoEffect: spec.value: is not used by the mode one.",
      "NoEffect: spec.duration: has no effect on an act that is over at once.",
    ]);
    const paused = changed(object, { annotations: { "experiment.chaos-mesh.org/pause": "true", ...metadataOf(object).annotations } });
    const update = reviewOf(spec, { kindName: "PodChaos", operation: "UPDATE", object: paused, oldObject: { ...object } });
    assert.deepEqual((await admit(update)).warnings, []);
  });

  it("keeps the finalizers of others, and adds none at UPDATE", async () => {
    const { object } = await admit(reviewOf(delay, { metadata: { finalizers: ["theirs"] } }));
    assert.deepEqual(metadataOf(object).finalizers, ["theirs", "chaos-mesh/records"]);
    const without = changed(object, { finalizers: [] });
    const update = await admit(reviewOf(delay, { operation: "UPDATE", object: without, oldObject: { ...object } }));
    assert.deepEqual(metadataOf(update.object).finalizers, []);
  });

  it("tells all mistakes in one message, with code, name and paths", () => {
    const { isAllowed, code, message } = mutateExperiment(reviewOf({ action: "dely", mode: "fixed" }), strict);
    assert.equal(isAllowed, false);
    assert.equal(code, "InvalidSpec");
    assert.match(message, /^\d+ mistakes? in NetworkChaos slow\.\n {2}spec\.action: "dely" is none of/);
  });
});

describe("validateExperiment", () => {
  it("refuses what cannot be carried out yet, and admits it with a warning when told to", async () => {
    const spec = { ...delay, remoteCluster: "west" };
    const { verdict } = await admit(reviewOf(spec));
    assert.equal(verdict.code, "NotYetSupported");
    assert.match(verdict.message, /spec\.remoteCluster: /);
    const admitted = await admit(reviewOf(spec), { policy: { ...strict, admitUnsupported: true } });
    assert.ok(admitted.verdict.isAllowed);
    assert.match(admitted.warnings[0] ?? "", /^NotYetSupported: spec\.remoteCluster: .* has no effect/);
  });

  it("asks what the author may do before it says that it cannot be carried out yet", async () => {
    const forbidden = { isAllowed: false, code: "Forbidden", message: "" };
    const { verdict } = await admit(reviewOf({ ...delay, remoteCluster: "west" }), { authorise: () => Promise.resolve(forbidden) });
    assert.equal(verdict.code, "Forbidden");
  });

  it("refuses a change of spec with the words that scripts look for, and names it", async () => {
    const oldObject = await stored(delay);
    const { verdict } = await admit(reviewOf({ ...delay, delay: { latency: "300ms" } }, { operation: "UPDATE", oldObject }));
    assert.equal(verdict.isAllowed, false);
    assert.match(verdict.message, /^Cannot update chaos spec: .*\n {2}spec\.delay\.latency: was "200ms" and cannot become "300ms"/);
  });

  it("lets metadata change without asking anybody, and takes empty for absent", async () => {
    const oldObject = await stored({ ...delay, selector: { namespaces: ["shop"], labelSelectors: {} }, direction: "to" });
    const { verdict } = await admit(
      reviewOf(delay, { operation: "UPDATE", oldObject, metadata: { annotations: { "experiment.chaos-mesh.org/pause": "true" } } }),
      { authorise: () => assert.fail("nothing new is to be allowed") },
    );
    assert.deepEqual([verdict.isAllowed, verdict.message], [true, ""]);
  });

  it("lets metadata of a spec change that it would not admit today, so that the experiment can be paused and let go", async () => {
    const paused = { annotations: { "experiment.chaos-mesh.org/pause": "true" } };
    for (const spec of [{ nonsense: true }, { ...delay, remoteCluster: "west" }]) {
      const update = reviewOf(spec, { operation: "UPDATE", oldObject: reviewOf(spec).object, metadata: paused });
      const { verdict } = await admit(update);
      assert.deepEqual([verdict.isAllowed, verdict.code], [true, ""]);
      assert.ok(!(await admit({ ...update, object: { ...update.object, spec: { ...spec, mode: "some" } } })).verdict.isAllowed);
    }
  });

  it("judges nothing at DELETE", async () => {
    const asked = reviewOf({ nonsense: true }, { operation: "DELETE" });
    assert.deepEqual(
      await validateExperiment(asked, strict, { authorise: everythingGoes, govern: noLimits, forecast: noForecast }),
      allowed,
    );
    assert.deepEqual(mutateExperiment({ ...asked, object: null, oldObject: asked.object }, strict), allowed);
  });

  it("never holds up a deletion, however broken the object is", async () => {
    const { verdict } = await admit(
      reviewOf({ nonsense: true }, { operation: "UPDATE", metadata: { deletionTimestamp: "2026-01-01T00:00:00Z" } }),
    );
    assert.ok(verdict.isAllowed);
  });

  it("leaves kinds alone that it does not know", async () =>
    assert.ok((await admit(reviewOf({}, { kindName: "SomethingNew" }))).verdict.isAllowed));
});

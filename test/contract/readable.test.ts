import assert from "node:assert/strict";
import fc from "fast-check";
import { experimentNames, experiments } from "../../api/kinds/experiments.ts";
import { notYetKinds } from "../../api/kinds/not-yet.ts";
import { binderOf } from "../../controller/kinds/translators.ts";
import { experimentResource } from "../../kube/experiments.ts";
import { manifestsOf } from "../support/manifests.ts";
import { mutated } from "../support/mutations.ts";

describe("what the webhook admits", () => {
  for (const kind of experimentNames)
    it(`can be read by the controller, which then knows whether it can carry it out: ${kind}`, () => {
      const sound = manifestsOf(kind)
        .filter(({ verdict }) => verdict === "accept")
        .map(({ object }) => object);
      const isListed = (notYetKinds as readonly string[]).includes(kind);
      fc.assert(
        fc.property(mutated(sound), ({ object }) => {
          const judged = experiments[kind].judge(object, { namespace: "shop" });
          if (!judged.ok) return;
          // As the API server gives it back: with metadata that it checked itself.
          const metadata = { name: "x", namespace: "shop", uid: "u", resourceVersion: "1" };
          const read = experimentResource(kind).parse(JSON.parse(JSON.stringify({ ...judged.object, kind, status: {}, metadata })));
          const { can } = binderOf(kind)(read);
          assert.equal(can, judged.unsupported.length > 0 ? "not-yet" : "run");
          if (isListed) assert.equal(can, "not-yet");
        }),
        { numRuns: 200 },
      );
    });
});

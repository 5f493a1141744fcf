import fc from "fast-check";
import { kindNames } from "../../../api/kinds/registry.ts";
import { checkJudging } from "../../support/judging.ts";
import { soundManifests } from "../../support/manifests.ts";
import { mutated } from "../../support/mutations.ts";

describe("a sound object, changed anywhere", () => {
  for (const kind of kindNames) {
    it(`is an answer for ${kind}: mistakes with their places, or an object that is admitted again as it is`, () => {
      const sound = soundManifests.filter((manifest) => manifest.kind === kind).map(({ object }) => object);
      fc.assert(
        fc.property(mutated(sound), ({ object }) => checkJudging(kind, object)),
        { numRuns: 300 },
      );
    });
  }
});

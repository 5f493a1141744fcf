import assert from "node:assert/strict";
import fc from "fast-check";
import { durationOrEmpty, offset, wait, waitOrEmpty } from "../../../api/blocks/scalars.ts";
import { parseDuration } from "../../../common/duration.ts";

/** Texts that are durations, or nearly. */
const almost = fc
  .array(fc.constantFrom("0", "1", "17", "1.5", ".5", "1.", "ns", "us", "µs", "μs", "ms", "s", "m", "h", "d", "+", "-", ".", " "), {
    maxLength: 6,
  })
  .map((parts) => parts.join(""));

describe("durations", () => {
  const classes = {
    durationOrEmpty: durationOrEmpty(),
    wait: wait(),
    waitOrEmpty: waitOrEmpty(),
    offset: offset({ missing: "is missing." }),
  };
  for (const [name, schema] of Object.entries(classes)) {
    it(`of the class ${name} are the same to the webhook and to the pattern that the API server has`, () => {
      const { pattern } = schema.meta() ?? {};
      assert.ok(typeof pattern === "string");
      const hasPattern = new RegExp(pattern, "u");
      fc.assert(
        fc.property(almost, (text) => assert.equal(schema.safeParse(text).success, hasPattern.test(text), JSON.stringify(text))),
        { numRuns: 3000 },
      );
    });
  }

  it("longer than 292 years fit the pattern only, and are called too long", () => {
    const found = durationOrEmpty().safeParse("9999999h");
    assert.equal(parseDuration("9999999h"), undefined);
    assert.match(found.error?.issues[0]?.message ?? "", /longer than a duration can be, which is 292 years/);
  });
});

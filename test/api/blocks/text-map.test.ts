import assert from "node:assert/strict";
import * as z from "zod";
import { mapOf } from "../../../api/blocks/text-map.ts";

describe("mapOf", () => {
  const map = mapOf(z.number().max(9), { max: 2, problem: (key) => (key === "odd" ? "is odd." : undefined) });
  const issuesOf = (value: unknown) => map.safeParse(value).error?.issues.map(({ path, message }) => `${path.join(".")} ${message}`);

  it("says what is wrong with keys and with values", () => {
    assert.equal(issuesOf({ even: 2 }), undefined);
    assert.deepEqual(issuesOf({ odd: 1 }), ["odd is odd."]);
    assert.deepEqual(issuesOf({ odd: 10 }), ["odd Too big: expected number to be <=9", "odd is odd."]);
  });

  it("refuses more entries than it may have", () => {
    assert.deepEqual(issuesOf({ a: 1, b: 2, c: 3 }), [" has more than 2 entries."]);
  });
});

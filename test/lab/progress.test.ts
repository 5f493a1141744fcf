import assert from "node:assert/strict";
import { elapsed } from "../../lab/progress.ts";

describe("elapsed", () => {
  it("counts seconds, and minutes from one on", () => {
    assert.equal(elapsed(8_400), "8 s");
    assert.equal(elapsed(59_499), "59 s");
    assert.equal(elapsed(200_000), "3 min 20 s");
  });
});

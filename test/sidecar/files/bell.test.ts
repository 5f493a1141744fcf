import assert from "node:assert/strict";
import { Bell } from "../../../sidecar/files/kernel/bell.ts";

describe("Bell", () => {
  it("tells one side of mail, once, and the other side what to ask for", () => {
    const sleeper = new Bell();
    const caller = new Bell(sleeper.memory);
    assert.equal(sleeper.hasRung(), false);
    assert.equal(caller.ring(), 0);
    assert.equal(sleeper.hasRung(), true);
    assert.equal(sleeper.hasRung(), false);
    for (const node of [7, 2 ** 31 + 5, 2 ** 32 - 1, 2 ** 45 + 3, 0]) {
      sleeper.hang(node);
      assert.equal(caller.ring(), node);
    }
  });
});

import assert from "node:assert/strict";
import { without } from "../../../sidecar/files/kernel/locks.ts";

describe("without", () => {
  it("leaves what others do not take of a range", () => {
    const all = { start: 0, end: Infinity };
    assert.deepEqual(without(all), [all]);
    assert.deepEqual(without(all, [{ start: 0, end: 4 }]), [{ start: 4, end: Infinity }]);
    const taken = [
      { start: 8, end: 12 },
      { start: 2, end: 4 },
      { start: 3, end: 6 },
    ];
    assert.deepEqual(without({ start: 1, end: 10 }, taken), [
      { start: 1, end: 2 },
      { start: 6, end: 8 },
    ]);
    assert.deepEqual(without({ start: 9, end: 11 }, taken), []);
    assert.deepEqual(without({ start: 12, end: 13 }, taken), [{ start: 12, end: 13 }]);
  });
});

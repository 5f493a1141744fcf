import assert from "node:assert/strict";
import { planWrite } from "../../controller/status.ts";

describe("planWrite", () => {
  const change = { difference: "substance", records: 1, isUnderWay: true, nowMs: 10_000, busySinceMs: 10_000, lastWriteMs: 4_000 } as const;

  it("writes what is complete at once, and what stays the same never", () => {
    assert.deepEqual(planWrite({ ...change, isUnderWay: false }), { write: "now" });
    assert.deepEqual(planWrite({ ...change, difference: "same" }), { write: "not" });
  });

  it("waits 2 s for a change to become complete", () => {
    assert.deepEqual(planWrite(change), { write: "later", waitMs: 2_000 });
    assert.deepEqual(planWrite({ ...change, nowMs: 12_000 }), { write: "now" });
  });

  it("writes how far a change has come every 5 s, and the more seldom the more records there are", () => {
    const second = { ...change, nowMs: 13_000, lastWriteMs: 12_000 };
    assert.deepEqual(planWrite(second), { write: "later", waitMs: 4_000 });
    assert.deepEqual(planWrite({ ...second, records: 10_000 }), { write: "later", waitMs: 9_000 });
    assert.deepEqual(planWrite({ ...second, records: 10_000, nowMs: 22_000 }), { write: "now" });
  });

  it("writes 3 s after the last write that something has matched, if that is new", () => {
    const firstCounts = { ...change, difference: "first counts" } as const;
    assert.deepEqual(planWrite({ ...firstCounts, lastWriteMs: 8_000 }), { write: "later", waitMs: 1_000 });
    assert.deepEqual(planWrite(firstCounts), { write: "now" });
  });

  it("writes mere counts half a minute after the last write", () => {
    assert.deepEqual(planWrite({ ...change, difference: "counts" }), { write: "later", waitMs: 24_000 });
  });
});

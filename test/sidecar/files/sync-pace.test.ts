import assert from "node:assert/strict";
import { SyncPace } from "../../../sidecar/files/kernel/sync-pace.ts";

describe("SyncPace", () => {
  it("takes a disk for quick until a sync was slow", () => {
    const pace = new SyncPace();
    assert.equal(pace.isQuick(0), true);
    pace.note(0, 1.9);
    assert.equal(pace.isQuick(2), true);
  });

  it("lets others wait for slow syncs in a hundredth of the time only", () => {
    const pace = new SyncPace();
    pace.note(0, 10);
    assert.equal(pace.isQuick(1_009), false);
    assert.equal(pace.isQuick(1_010), true);
  });
});

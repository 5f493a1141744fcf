import assert from "node:assert/strict";
import { type Wakefulness, watchWakefulness } from "../../agent/wakefulness.ts";
import { FakeClock } from "../support/fake-clock.ts";

describe("watchWakefulness", () => {
  let clock: FakeClock;
  let wakefulness: Wakefulness;
  beforeEach(() => {
    clock = new FakeClock();
    wakefulness = watchWakefulness(clock);
  });
  afterEach(() => {
    wakefulness.close();
    assert.equal(clock.waiting, 0);
  });

  it("sees nothing unusual in a process that runs, nor in one that is starved for a moment", async () => {
    assert.equal(wakefulness.stoodStill, false);
    await clock.advance(60_000);
    assert.equal(wakefulness.stoodStill, false);
    clock.freeze(3_000);
    assert.equal(wakefulness.stoodStill, false);
  });

  it("knows of a stop before any timer fires, and for a second more", async () => {
    await clock.advance(10_000);
    clock.freeze(4_500);
    assert.equal(wakefulness.stoodStill, true);
    await clock.advance(900);
    assert.equal(wakefulness.stoodStill, true);
    await clock.advance(100);
    assert.equal(wakefulness.stoodStill, false);
  });

  it("knows of it where timers come first, too, and whatever the wall clock says", async () => {
    clock.freeze(60_000);
    clock.setWallClock("2026-01-01T00:00:00Z");
    await clock.advance(0);
    assert.equal(wakefulness.stoodStill, true);
    clock.setWallClock("2036-01-01T00:00:00Z");
    await clock.advance(1_000);
    assert.equal(wakefulness.stoodStill, false);
  });
});

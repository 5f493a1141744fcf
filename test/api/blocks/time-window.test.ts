import assert from "node:assert/strict";
import { minutesOpen, type TimeWindow } from "../../../api/blocks/time-window.ts";

const open = (window: Partial<TimeWindow>, time: string): number | undefined =>
  minutesOpen({ from: "09:00", to: "17:00", timeZone: "UTC", ...window }, new Date(time));

describe("minutesOpen", () => {
  it("counts the minutes until the end, which is not in the window", () => {
    assert.equal(open({}, "2026-11-25T08:59:59Z"), undefined);
    assert.equal(open({}, "2026-11-25T09:00:00Z"), 480);
    assert.equal(open({}, "2026-11-25T16:59:00Z"), 1);
    assert.equal(open({}, "2026-11-25T17:00:00Z"), undefined);
    assert.equal(open({ to: "24:00" }, "2026-11-25T23:59:00Z"), 1);
  });

  it("goes by the clock of its zone, in summer and winter", () => {
    const berlin = { timeZone: "Europe/Berlin" };
    assert.equal(open(berlin, "2026-01-15T08:00:00Z"), 480);
    assert.equal(open(berlin, "2026-07-15T07:00:00Z"), 480);
    assert.equal(open({ timeZone: "Asia/Kolkata" }, "2026-01-15T03:30:00Z"), 480);
  });

  it("goes over midnight, by the day on which it began", () => {
    const night = { days: ["Fri"] as TimeWindow["days"], from: "22:00", to: "06:00" };
    assert.equal(open(night, "2026-11-27T21:59:00Z"), undefined);
    assert.equal(open(night, "2026-11-27T22:00:00Z"), 480);
    assert.equal(open(night, "2026-11-28T05:59:00Z"), 1);
    assert.equal(open(night, "2026-11-28T06:00:00Z"), undefined);
    assert.equal(open(night, "2026-11-27T05:00:00Z"), undefined);
    assert.equal(open({ from: "08:00", to: "08:00" }, "2026-11-27T07:00:00Z"), 60);
  });
});

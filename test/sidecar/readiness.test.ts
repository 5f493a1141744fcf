import assert from "node:assert/strict";
import type { VolumeState } from "../../sidecar/files/volume-keeper.ts";
import { isSettled } from "../../sidecar/readiness.ts";

const waiting: VolumeState = { is: "waiting" };
const serving: VolumeState = { is: "serving" };
const refused: VolumeState = { is: "refused", reason: "NoSuchFolder", message: "There is none." };

describe("isSettled", () => {
  const rows: readonly (readonly [states: Readonly<Record<string, VolumeState>>, reasons: readonly string[], isSettled: boolean])[] = [
    [{}, [], true],
    [{}, ["InvalidPeers"], true],
    [{ data: waiting }, [], false],
    [{ data: serving }, [], true],
    [{ data: refused }, [], true],
    [{ data: serving, cache: waiting }, [], false],
    [{ data: serving, cache: refused }, [], true],
    // The volume is served and the visit that has its faults applied is still to come.
    [{ data: serving }, ["VolumeNotMounted"], false],
    [{ data: serving }, ["", "VolumeNotServed"], true],
  ];
  for (const [states, reasons, expected] of rows)
    it(`is ${expected} for volumes ${JSON.stringify(states)} and faults with reasons ${JSON.stringify(reasons)}`, () => {
      const faults = reasons.map((reason, index) => ({ id: String(index), experiment: "x", state: "", reason, message: "" }));
      assert.equal(isSettled(new Map(Object.entries(states)), faults), expected);
    });
});

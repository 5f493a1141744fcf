import assert from "node:assert/strict";
import { isEnding } from "../../../daemon/volumes/pod-members.ts";

const status = (state: string, own = "0", shared = "0"): string =>
  `Name:\tnode\nState:\t${state}\nTgid:\t7\nSigPnd:\t${own.padStart(16, "0")}\nShdPnd:\t${shared.padStart(16, "0")}\nSigBlk:\t0000000000000100\n`;

describe("a thread of a pod", () => {
  for (const [what, text, expected] of [
    ["runs", status("R (running)"), false],
    ["sleeps, and blocks signal 9 in vain", status("S (sleeping)"), false],
    ["waits for a file", status("D (disk sleep)"), false],
    ["waits for a file, with SIGTERM pending", status("D (disk sleep)", "4000"), false],
    ["waits for a file, and was killed", status("D (disk sleep)", "100"), true],
    ["waits for a file, and was killed with its whole process", status("D (disk sleep)", "0", "4100"), true],
    ["has ended", status("Z (zombie)"), true],
    ["is being removed", status("X (dead)"), true],
  ] as const)
    it(`${expected ? "ends" : "goes on"} where it ${what}`, () => assert.equal(isEnding(text), expected));
});

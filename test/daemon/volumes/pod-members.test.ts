import assert from "node:assert/strict";
import { isEnding, namesPod } from "../../../daemon/volumes/pod-members.ts";

const status = (state: string, own = "0", shared = "0"): string =>
  `Name:\tnode\nState:\t${state}\nTgid:\t7\nSigPnd:\t${own.padStart(16, "0")}\nShdPnd:\t${shared.padStart(16, "0")}\nSigBlk:\t0000000000000100\n`;

const stat = (flags: number): string => `7 (a) name) S 1 7 7 0 -1 ${flags} 904 0`;

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
    it(`${expected ? "ends" : "goes on"} where it ${what}`, () => assert.equal(isEnding(text, stat(4_194_560)), expected));

  it("ends where it has begun to exit by itself", () => {
    assert.equal(isEnding(status("D (disk sleep)"), stat(4_194_560 | 4)), true);
  });
});

describe("a group of a pod", () => {
  const uid = "0b7b4bf6-6a32-4f6e-8a8e-aaaaaaaaaaaa";
  const slice = `0::/kubepods.slice/kubepods-pod${uid.replaceAll("-", "_")}.slice`;
  for (const [line, expected] of [
    [`0::/kubepods/pod${uid}/4711`, true],
    [`${slice}/crio-4711.scope`, true],
    [`${slice}/crio-conmon-4711.scope`, false],
    ["0::/kubepods/podother/4711", false],
  ] as const)
    it(`${expected ? "is" : "is not"} ${line}`, () => assert.equal(namesPod(line, uid), expected));
});

import assert from "node:assert/strict";
import { isInside } from "../../../daemon/time/threads-inside.ts";
import { readOwnVdso } from "../../../daemon/time/vdso-image.ts";
import { planPatch } from "../../../daemon/time/vdso-patch.ts";
import { FAKE_BASE, FAKE_STACK, fakeTarget } from "../../support/fake-target.ts";

const patch = planPatch(readOwnVdso());
const detour = FAKE_BASE + (patch.addedCode[0]?.offset ?? assert.fail()) + 5;
const original = FAKE_BASE + patch.hooks.clock_gettime.next;
const elsewhere = 0x40_1000;

/** A process whose stack holds these words at these offsets. */
function withStack(words: Readonly<Record<number, number | bigint>>): ReturnType<typeof fakeTarget> {
  const target = fakeTarget(patch.patched);
  for (const [at, word] of Object.entries(words)) target.stack.writeBigUInt64LE(BigInt(word), Number(at));
  return target;
}

/** What the kernel leaves on the stack for the return from a handler, as struct sigcontext_64 ends: sp, ip, flags, segments. */
const interrupted = (at: number, counter: number, stack: number): Readonly<Record<number, number | bigint>> => ({
  [at]: stack,
  [at + 8]: counter,
  [at + 16]: 0x246,
  [at + 24]: 0x002b_0000_0000_0033n,
});

const cases: readonly (readonly [is: boolean, what: string, counter: number, words: Readonly<Record<number, number | bigint>>])[] = [
  [true, "in a detour", detour, {}],
  [true, "in a jump between functions", FAKE_BASE + (patch.addedCode[1] ?? patch.addedCode[0] ?? assert.fail()).offset, {}],
  [true, "in the original, called by a detour", original, { 48: detour }],
  [false, "in the original, called by a program", original, { 48: elsewhere }],
  [false, "elsewhere", elsewhere, { 48: elsewhere }],
  [false, "elsewhere, with an old address of ours on its stack", elsewhere, { 48: detour }],
  [true, "in a handler that interrupted a detour", elsewhere, interrupted(30_000, detour, FAKE_STACK + 60_000)],
  [
    true,
    "in a handler that interrupted the original, called by a detour on another stack",
    elsewhere,
    { ...interrupted(1_000, original, FAKE_STACK + 60_000), 60_040: detour },
  ],
  [false, "in a handler that interrupted a program", elsewhere, interrupted(1_000, elsewhere, FAKE_STACK + 60_000)],
];

describe("isInside", () => {
  for (const [is, what, counter, words] of cases) {
    it(`says ${is ? "yes" : "no"} of a thread ${what}`, () => {
      assert.equal(isInside(withStack(words).memory, { counter, stack: FAKE_STACK }, patch), is);
    });
  }
});

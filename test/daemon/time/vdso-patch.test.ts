import assert from "node:assert/strict";
import { layout } from "../../../daemon/time/payload.ts";
import { parseVdso, readOwnVdso } from "../../../daemon/time/vdso-image.ts";
import { planPatch } from "../../../daemon/time/vdso-patch.ts";
import { decodeInstruction } from "../../../daemon/time/x86-instruction.ts";

const pristine = readOwnVdso();
const patch = planPatch(pristine);

/** Padding of the tightest kernel we know, Debian's 6.12 for clouds. */
const SMALLEST_ROOM = 960;

describe("planPatch", () => {
  it("changes nothing but the words it names and the padding at the end", () => {
    const words = new Set([...patch.gapWords, ...patch.hookWords]);
    for (let at = 0; at < patch.payload.offset; at += 8) {
      const isSame = patch.patched.subarray(at, at + 8).equals(pristine.subarray(at, at + 8));
      assert.ok(isSame || words.has(at), `word at ${at.toString(16)}`);
    }
    assert.ok(pristine.subarray(patch.payload.offset).every((byte) => byte === 0));
    assert.ok(patch.patched.subarray(patch.payload.offset + patch.payload.length).every((byte) => byte === 0));
  });

  it("fits into what kernels leave free", () => {
    assert.ok(patch.payload.length <= SMALLEST_ROOM, `${patch.payload.length} bytes`);
    assert.ok(patch.payload.offset + patch.payload.length <= pristine.length);
  });

  it("replaces one whole instruction in each of three functions by a jump that ends in the detour", () => {
    for (const name of ["clock_gettime", "gettimeofday", "time"] as const) {
      const hook = patch.hooks[name] ?? assert.fail(name);
      const replaced = decodeInstruction(pristine, hook.offset) ?? assert.fail(name);
      assert.equal(hook.next, hook.offset + replaced.length);
      assert.ok(replaced.length >= (hook.gap === undefined ? 5 : 2));
      const long = hook.gap ?? hook.offset;
      if (hook.gap !== undefined) assert.equal(hook.offset + 2 + patch.patched.readInt8(hook.offset + 1), hook.gap);
      assert.equal(patch.patched.readUInt8(long), 0xe9);
      const detour = long + 5 + patch.patched.readInt32LE(long + 1);
      assert.ok(detour >= patch.payload.offset + layout.code && detour < patch.payload.offset + patch.payload.length);
    }
  });

  it("keeps what running threads read in words of their own", () => {
    assert.equal((patch.payload.offset + layout.selector) % 8, 0);
    assert.equal((patch.payload.offset + layout.tables) % 16, 0);
  });

  it("gives the same patch for the same image, and another marker for another", () => {
    assert.deepEqual(planPatch(Buffer.from(pristine)), patch);
    const other = Buffer.from(pristine);
    const text = other.indexOf("linux-vdso");
    other[text === -1 ? 9 : text] = 0x4c;
    const marker = (image: Buffer): Buffer => image.subarray(patch.payload.offset, patch.payload.offset + 8);
    assert.notDeepEqual(marker(planPatch(other).patched), marker(patch.patched));
  });

  it("refuses an image without enough room", () => {
    const full = Buffer.from(pristine);
    full.writeUInt8(1, full.length - 200);
    assert.throws(() => planPatch(full), /has \d+ bytes of padding, and \d+ are needed/);
  });

  it("refuses code that it does not know how to hook, and shows it", () => {
    const { offset } = parseVdso(pristine).functions.get("__vdso_clock_gettime") ?? assert.fail();
    const strange = Buffer.from(pristine);
    strange.write("0f01f9", offset, "hex");
    assert.throws(
      () => planPatch(strange),
      /__vdso_clock_gettime in the vDSO of this kernel begins with code that is not known how to hook: 0f01f9/,
    );
  });

  it("refuses what is not for x86-64", () => {
    const arm = Buffer.from(pristine);
    arm.writeUInt16LE(183, 18);
    assert.throws(() => planPatch(arm), /not an ELF file of x86-64/);
  });
});

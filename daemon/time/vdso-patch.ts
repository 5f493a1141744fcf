import { crc32 } from "node:zlib";
import { findHookPoint, gapsOf, type HookPoint, LONG_JUMP } from "./hook-point.ts";
import { assembleDetours, type HookedName, type Hooks, layout } from "./payload.ts";
import { type CodeRange, parseVdso, type VdsoImage } from "./vdso-image.ts";

/** How the vDSO of this kernel is patched, as data: computed from the pristine image alone, so that undoing needs no memory either. */
export interface VdsoPatch {
  readonly pristine: Buffer;
  /** The whole image with the patch in place, all clocks native. */
  readonly patched: Buffer;
  /** The payload in the padding at the end. */
  readonly payload: CodeRange;
  /** Offsets of the aligned words of 8 bytes that hold the jumps in gaps, and those that hold the hooks. */
  readonly gapWords: readonly number[];
  readonly hookWords: readonly number[];
  /** Code that is not there in the pristine image. */
  readonly addedCode: readonly CodeRange[];
  readonly hooks: Hooks;
}

/** How a marker begins, whichever version of Squall wrote it; a checksum of the patch follows. */
export const MARKER_START = Buffer.from("SQSK");
const ALIGNMENT = 64;
const symbols = {
  clock_gettime: "__vdso_clock_gettime",
  gettimeofday: "__vdso_gettimeofday",
  time: "__vdso_time",
} as const satisfies Readonly<Record<HookedName, string>>;

/** Throws where this image cannot be patched, with a sentence that says why. */
export function planPatch(pristine: Buffer): VdsoPatch {
  const image = parseVdso(pristine);
  const hooks = findHooks(image);
  const at = alignUp(Math.max(image.contentEnd, lastContent(pristine)));
  const { bytes: code, labels } = assembleDetours(pristine, hooks, at);
  const payload = { offset: at, length: (layout.code + code.length + 7) & ~7 };
  if (at + payload.length > pristine.length)
    throw new Error(`The vDSO of this kernel has ${pristine.length - at} bytes of padding, and ${payload.length} are needed.`);

  const patched = Buffer.from(pristine);
  code.copy(patched, at + layout.code);
  const gapWords = new Set<number>();
  const hookWords = new Set<number>();
  const addedCode: CodeRange[] = [{ offset: at + layout.code, length: code.length }];
  for (const [name, hook] of Object.entries(hooks)) {
    if (hook === undefined) continue;
    writeJumps(patched, hook, labels.get(name) ?? 0);
    if (hook.gap !== undefined) {
      addedCode.push({ offset: hook.gap, length: LONG_JUMP });
      addWords(gapWords, hook.gap, LONG_JUMP);
    }
    addWords(hookWords, hook.offset, hook.gap === undefined ? LONG_JUMP : 2);
  }
  if (gapWords.intersection(hookWords).size > 0)
    throw new Error("A jump and a hook in the vDSO of this kernel lie in one word of 8 bytes.");
  MARKER_START.copy(patched, at + layout.marker);
  patched.writeUInt32LE(crc32(patched), at + layout.marker + MARKER_START.length);
  return { pristine, patched, payload, gapWords: [...gapWords], hookWords: [...hookWords], addedCode, hooks };
}

function findHooks(image: VdsoImage): Hooks {
  const takeGap = gapsOf(image);
  const find = (name: HookedName): HookPoint | undefined => {
    const code = image.functions.get(symbols[name]);
    if (code === undefined) return undefined;
    const hook = findHookPoint(image, code, takeGap);
    if (hook === undefined) {
      const start = image.bytes.toString("hex", code.offset, code.offset + 24);
      throw new Error(`${symbols[name]} in the vDSO of this kernel begins with code that is not known how to hook: ${start}.`);
    }
    return hook;
  };
  const clock_gettime = find("clock_gettime");
  if (clock_gettime === undefined) throw new Error(`The vDSO of this kernel has no ${symbols.clock_gettime}.`);
  return { clock_gettime, gettimeofday: find("gettimeofday"), time: find("time") };
}

function writeJumps(patched: Buffer, { offset, gap }: HookPoint, detour: number): void {
  const long = gap ?? offset;
  patched.writeUInt8(0xe9, long);
  patched.writeInt32LE(detour - (long + LONG_JUMP), long + 1);
  if (gap === undefined) return;
  patched.writeUInt8(0xeb, offset);
  patched.writeInt8(gap - (offset + 2), offset + 1);
}

function addWords(words: Set<number>, offset: number, length: number): void {
  words.add(offset & ~7).add((offset + length - 1) & ~7);
}

const alignUp = (offset: number): number => Math.ceil(offset / ALIGNMENT) * ALIGNMENT;

/** Where the zeros at the end of the image begin. */
function lastContent(bytes: Buffer): number {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return end;
}

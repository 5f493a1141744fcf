import { type Instruction, decodeInstruction, paddingLength } from "./x86-instruction.ts";
import type { CodeRange, VdsoImage } from "./vdso-image.ts";

/** The one instruction of a function that becomes a jump. As it is one, no thread can stand inside of it. */
export interface HookPoint {
  readonly offset: number;
  /** Where the function goes on behind it. */
  readonly next: number;
  /** All instructions up to and including this one, which the detour runs on its way to the rest. */
  readonly moved: readonly (Instruction & { readonly offset: number })[];
  /** Machine code that takes back what ran before the hook. */
  readonly takeBack: readonly number[];
  /** Where a short jump finds the long one, in padding between functions; undefined where the long one fits into the instruction itself. */
  readonly gap: number | undefined;
}

/** Bytes of a jump over any distance, and of one over 127 bytes at most. */
export const LONG_JUMP = 5;
export const SHORT_JUMP = 2;
const PUSH_RBP = 0x55;
const MOST_INSTRUCTIONS = 8;

/**
 * Finds where a function can be hooked: its first instruction of five bytes or more, or of two or more with a gap within reach, behind others whose
 * effect can be taken back. `takeGap` gives each gap away once. Undefined where there is no such place, or where the function jumps back to it.
 */
export function findHookPoint(image: VdsoImage, code: CodeRange, takeGap: (from: number) => number | undefined): HookPoint | undefined {
  const moved: (Instruction & { readonly offset: number })[] = [];
  const takeBack: number[] = [];
  let savesRbp = false;
  for (let at = code.offset; moved.length < MOST_INSTRUCTIONS; ) {
    const instruction = decodeInstruction(image.bytes, at);
    if (instruction === undefined || at + instruction.length > code.offset + code.length) return undefined;
    moved.push({ ...instruction, offset: at });
    const next = at + instruction.length;
    const gap = instruction.length >= LONG_JUMP || instruction.length < SHORT_JUMP ? undefined : takeGap(at + SHORT_JUMP);
    if (instruction.length >= LONG_JUMP || gap !== undefined) {
      return jumpsTo(image.bytes, code, at) ? undefined : { offset: at, next, moved, takeBack, gap };
    }
    const back = takingBack(image.bytes, at, instruction.length, { savesRbp });
    if (back === undefined) return undefined;
    takeBack.unshift(...back);
    savesRbp ||= image.bytes[at] === PUSH_RBP;
    at = next;
  }
  return undefined;
}

/** Machine code that undoes the instruction; nothing for one without a lasting effect; undefined where that is not known. */
function takingBack(
  bytes: Buffer,
  at: number,
  length: number,
  { savesRbp }: { readonly savesRbp: boolean },
): readonly number[] | undefined {
  const [first = 0, second = 0, third = 0] = bytes.subarray(at, at + length);
  if (paddingLength(bytes, at) === length) return [];
  if (length === 1 && (first & 0xf8) === 0x50) return [0x58 | (first & 7)]; // push → pop
  if (length === 2 && first === 0x41 && (second & 0xf8) === 0x50) return [0x41, 0x58 | (second & 7)];
  const hex = bytes.toString("hex", at, at + length);
  if (hex === "f30f1efa") return []; // endbr64
  // mov rbp,rsp: the pop of rbp that is to come mends it
  if (hex === "4889e5") return savesRbp ? [] : undefined;
  // mov to r10 or r11, which every function may overwrite
  const isScratch = length === 3 && first === 0x49 && second === 0x89 && third >= 0xc0 && [2, 3].includes(third & 7);
  return isScratch ? [] : undefined;
}

/** Whether any byte of the function could be a jump or call to the place. Bytes inside of instructions count too: a false alarm only refuses. */
function jumpsTo(bytes: Buffer, { offset, length }: CodeRange, target: number): boolean {
  for (let at = offset; at + 6 <= offset + length; at++) {
    const first = bytes.readUInt8(at);
    const isShort = (first & 0xf0) === 0x70 || first === 0xeb;
    if (isShort && at + 2 + bytes.readInt8(at + 1) === target) return true;
    if ((first === 0xe8 || first === 0xe9) && at + 5 + bytes.readInt32LE(at + 1) === target) return true;
    const isLongCondition = first === 0x0f && (bytes.readUInt8(at + 1) & 0xf0) === 0x80;
    if (isLongCondition && at + 6 + bytes.readInt32LE(at + 2) === target) return true;
  }
  return false;
}

/** Gives out places for long jumps in the padding between functions, each once: the first within reach of a short jump that ends at `from`. */
export function gapsOf(image: VdsoImage): (from: number) => number | undefined {
  const free = findGaps(image);
  return (from) => {
    const index = free.findIndex((gap) => Math.abs(gap - from) <= 127);
    return index < 0 ? undefined : free.splice(index, 1)[0];
  };
}

function findGaps({ bytes, functions }: VdsoImage): number[] {
  const codes = [...functions.values()];
  const starts = [...new Set(codes.map(({ offset }) => offset))].toSorted((one, other) => one - other);
  const gaps = new Set<number>();
  for (const { offset, length } of codes) {
    const end = offset + length;
    const next = starts.find((start) => start >= end);
    // Code that no symbol names may follow; padding alone is shorter than the alignment of functions.
    if (next !== undefined && next - end >= LONG_JUMP && next - end < 32 && isPadding(bytes, end, next)) gaps.add(end);
  }
  for (const start of starts) {
    const followsNamed = codes.some(({ offset, length }) => offset < start && offset + length > start - 16);
    if (!followsNamed) for (const gap of gapBehindReturn(bytes, start)) gaps.add(gap);
  }
  return [...gaps];
}

function isPadding(bytes: Buffer, from: number, to: number): boolean {
  let at = from;
  while (at < to) {
    const length = paddingLength(bytes, at);
    if (length === 0) return false;
    at += length;
  }
  return at === to;
}

/** Before a function that follows code without a name: int3 right behind a return can only be padding. */
function gapBehindReturn(bytes: Buffer, start: number): readonly number[] {
  for (let size = 15; size >= LONG_JUMP; size--) {
    const at = start - size;
    if (bytes[at - 1] === 0xc3 && bytes[at] === 0xcc) return isPadding(bytes, at, start) ? [at] : [];
  }
  return [];
}

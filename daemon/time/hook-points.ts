import { decodeInstruction, type Instruction, paddingLength } from "./instructions.ts";
import { type VdsoFunction, type VdsoImage, VdsoError } from "./vdso-image.ts";

/** Where one instruction of a function is replaced by a jump, so that no thread can ever stand inside of what is replaced. */
export interface HookPoint {
  /** Offset of the instruction, and of the one behind it. */
  readonly at: number;
  readonly next: number;
  /** What has run before the hook, the replaced instruction last: it is run again, elsewhere, to call the function as it was. */
  readonly moved: readonly Instruction[];
  /** Bytes of code that take the effect of what has run before the hook back. */
  readonly undo: readonly number[];
  /** A long jump in the padding between functions that a short jump goes to; undefined where the hook itself is long. */
  readonly relay: number | undefined;
}

const SHORT_JUMP = 2;
const LONG_JUMP = 5;
const LONGEST_WALK = 8;

/** Finds a hook for each of these functions. Throws VdsoError where there is none. */
export function findHookPoints(image: VdsoImage, functions: readonly VdsoFunction[]): ReadonlyMap<string, HookPoint> {
  const gaps = findGaps(image);
  return new Map(
    functions.map((one) => {
      const hook = findHookPoint(image.bytes, one, (from) => takeRelay(gaps, from));
      if (hook === undefined) throw new VdsoError(`The code of ${one.name} is other than what Squall knows how to hook on this kernel.`);
      if (jumpsTo(image.bytes, one, hook.at)) throw new VdsoError(`The code of ${one.name} jumps back to where Squall would hook it.`);
      return [one.name, hook] as const;
    }),
  );
}

/** Walks over instructions whose effect can be taken back to one that a jump fits into. */
function findHookPoint(code: Buffer, { offset }: VdsoFunction, takeRelayNear: (from: number) => number | undefined): HookPoint | undefined {
  const moved: Instruction[] = [];
  const undo: number[] = [];
  let isFrameSaved = false;
  for (let at = offset; moved.length < LONGEST_WALK; ) {
    const instruction = decodeInstruction(code, at);
    if (instruction === undefined) return undefined;
    moved.push(instruction);
    const next = at + instruction.length;
    const hook = { at, next, moved, undo };
    if (instruction.length >= LONG_JUMP) return { ...hook, relay: undefined };
    const relay = instruction.length >= SHORT_JUMP ? takeRelayNear(at + SHORT_JUMP) : undefined;
    if (relay !== undefined) return { ...hook, relay };
    const back = wayBack(code.subarray(at, next), { isFrameSaved, isPadding: paddingLength(code, at) === instruction.length });
    if (back === undefined) return undefined;
    undo.unshift(...back);
    isFrameSaved ||= back[0] === POP_RBP;
    at = next;
  }
  return undefined;
}

const PUSH_RBP = 0x55;
const POP_RBP = 0x5d;

/** Code that takes back what an instruction did, empty where it did nothing; undefined where it cannot be taken back. */
function wayBack(
  bytes: Buffer,
  { isFrameSaved, isPadding }: { readonly isFrameSaved: boolean; readonly isPadding: boolean },
): readonly number[] | undefined {
  const [first = 0, second = 0, third = 0] = bytes;
  if (bytes.length === 1 && first === PUSH_RBP) return [POP_RBP];
  if (bytes.length === 1 && (first & 0xf8) === 0x50) return [0x58 | (first & 7)]; // push
  if (bytes.length === 2 && first === 0x41 && (second & 0xf8) === 0x50) return [0x41, 0x58 | (second & 7)]; // push r8 to r15
  const hex = bytes.toString("hex");
  if (hex === "4889e5" && isFrameSaved) return []; // mov rbp, rsp: pop rbp repairs it
  if (hex === "f30f1efa" || isPadding) return []; // endbr64, nop
  // mov r10 or r11, which no caller expects anything of
  const isScratch = bytes.length === 3 && first === 0x49 && second === 0x89 && third >= 0xc0 && [2, 3].includes(third & 7);
  return isScratch ? [] : undefined;
}

interface Gap {
  readonly end: number;
  /** From here on it is free. */
  at: number;
}

/** Padding between functions, of five bytes at least. */
function findGaps({ bytes, functions }: VdsoImage): readonly Gap[] {
  const gaps: Gap[] = [];
  const add = (from: number, to: number): void => {
    let at = from;
    while (at < to) {
      const length = paddingLength(bytes, at);
      if (length === 0 || at + length > to) return;
      at += length;
    }
    if (to - from >= LONG_JUMP) gaps.push({ at: from, end: to });
  };
  for (const { offset, size } of functions) {
    const end = offset + size;
    const next = Math.min(...functions.map((other) => other.offset).filter((other) => other >= end));
    if (next - end >= LONG_JUMP && next - end < 32) add(end, next);
  }
  for (const { offset } of functions) {
    const isKnown = gaps.some(({ end }) => end === offset);
    const hasNeighbour = functions.some((other) => other.offset < offset && other.offset + other.size > offset - 16);
    if (isKnown || hasNeighbour) continue;
    // Before the first of them, only right behind a return and a breakpoint.
    for (let length = 15; length >= LONG_JUMP; length -= 1) {
      if (bytes[offset - length - 1] !== 0xc3 || bytes[offset - length] !== 0xcc) continue;
      add(offset - length, offset);
      break;
    }
  }
  return gaps;
}

/** Takes five bytes that a short jump from there reaches. */
function takeRelay(gaps: readonly Gap[], from: number): number | undefined {
  const gap = gaps.find(({ at, end }) => end - at >= LONG_JUMP && at - from >= -128 && at - from <= 127);
  if (gap === undefined) return undefined;
  const relay = gap.at;
  gap.at += LONG_JUMP;
  return relay;
}

/** Whether something in the function may be a jump or call to that offset. */
function jumpsTo(code: Buffer, { offset, size }: VdsoFunction, target: number): boolean {
  for (let at = offset; at + 6 < offset + size; at += 1) {
    const [first = 0, second = 0] = code.subarray(at, at + 2);
    const isShort = (first & 0xf0) === 0x70 || first === 0xeb;
    if (isShort && at + 2 + code.readInt8(at + 1) === target) return true;
    if ((first === 0xe9 || first === 0xe8) && at + 5 + code.readInt32LE(at + 1) === target) return true;
    if (first === 0x0f && (second & 0xf0) === 0x80 && at + 6 + code.readInt32LE(at + 2) === target) return true;
  }
  return false;
}

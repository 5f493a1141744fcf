import type { Position } from "./ptrace.ts";
import type { TargetMemory } from "./target-process.ts";
import type { VdsoPatch } from "./vdso-patch.ts";

/** Bytes of stack below which a function of the vDSO that we called keeps its way back to us. */
const FRAME = 1024;
/** Bytes of stack that are searched for handlers of signals: those that run, or wait, on top of an interrupted detour. */
const HANDLERS = 65_536;
/** Kept for all threads of all processes: they stand still meanwhile, and a collection of garbage would let them wait. */
const frame = Buffer.alloc(FRAME);
const stack = Buffer.alloc(HANDLERS);
/** cs and ss of 64-bit code with the zeros between them, as the kernel saves them for the return from a handler: struct sigcontext_64. */
const SEGMENTS = Buffer.from("3300000000002b00", "hex");
const SEGMENTS_BEHIND_COUNTER = 16;
const COUNTER_BEHIND_STACK = 8;

/**
 * Whether a stopped thread may come back to code of ours: it stands there, or in the original that our code called, or in a handler of a signal that
 * interrupted it in one of these. What an old handler left on the stack can make this true for nothing.
 */
export function isInside(memory: TargetMemory, position: Position, patch: VdsoPatch): boolean {
  if (standsInside(memory, position, patch)) return true;
  const length = memory.readInto(position.stack - memory.base, stack);
  for (let at = stack.indexOf(SEGMENTS); at >= 0 && at < length; at = stack.indexOf(SEGMENTS, at + 1)) {
    const counterAt = at - SEGMENTS_BEHIND_COUNTER;
    if (counterAt < COUNTER_BEHIND_STACK) continue;
    const interrupted = { counter: readAddress(stack, counterAt), stack: readAddress(stack, counterAt - COUNTER_BEHIND_STACK) };
    if (standsInside(memory, interrupted, patch)) return true;
  }
  return false;
}

function standsInside(memory: TargetMemory, { counter, stack: top }: Position, patch: VdsoPatch): boolean {
  if (isAdded(counter - memory.base, patch)) return true;
  const isInVdso = counter >= memory.base && counter < memory.base + patch.pristine.length;
  if (!isInVdso) return false;
  const length = memory.readInto(top - memory.base, frame);
  for (let at = 0; at + 8 <= length; at += 8) if (isAdded(readAddress(frame, at) - memory.base, patch)) return true;
  return false;
}

const isAdded = (offset: number, { addedCode }: VdsoPatch): boolean =>
  addedCode.some((code) => offset >= code.offset && offset < code.offset + code.length);

/** Addresses of processes are below 2^47. Other values lose digits and are no addresses of the vDSO either way. */
const readAddress = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64LE(at));

import { layout } from "./payload.ts";
import { classifyPatch, type PatchState } from "./patch-state.ts";
import { haveSameOffsets, isNative, nativeTable, ROW, TABLE } from "./skew-table.ts";
import { StopError, type StoppedProcess, type Stopper } from "./stop-process.ts";
import { isGone, type TargetMemory } from "./target-process.ts";
import { isInside } from "./threads-inside.ts";
import type { VdsoPatch } from "./vdso-patch.ts";

/** What became of one process. */
export type Outcome =
  | { readonly is: "done" }
  | { readonly is: "gone" }
  /** Native, but with bytes left that cannot be cleaned up now. */
  | { readonly is: "inert"; readonly reason: string }
  | { readonly is: "failed"; readonly reason: string };

/** Gives a process this table, hooking it before where it is not hooked. */
export function applyTable(memory: TargetMemory, table: Buffer, patch: VdsoPatch, stopper: Stopper): Outcome {
  return attempt(() => {
    const before = readState(memory, patch);
    if (before.is === "foreign") return { is: "failed", reason: before.reason };
    if (before.is === "pristine" && isNative(table)) return { is: "done" };
    if (before.is !== "hooked") stopper.during(memory.pid, () => install(memory, patch));
    const state = readState(memory, patch);
    if (state.is !== "hooked") return { is: "failed", reason: `Its vDSO is ${state.is} right after it was patched.` };
    setTable(memory, table, state, patch);
    return { is: "done" };
  });
}

/** Makes all clocks native, without a stop. */
export function silence(memory: TargetMemory, patch: VdsoPatch): Outcome {
  return attempt(() => {
    const state = readState(memory, patch);
    if (state.is === "hooked") setTable(memory, nativeTable(), state, patch);
    return { is: "done" };
  });
}

/** Takes the patch out of a process. Inert for one that a thread is inside of now: its clocks are native all the same. */
export function removePatch(memory: TargetMemory, patch: VdsoPatch, stopper: Stopper): Outcome {
  return attempt(() => {
    const state = readState(memory, patch);
    if (state.is === "pristine") return { is: "done" };
    if (state.is === "foreign") return { is: "failed", reason: state.reason };
    if (state.is === "hooked") setTable(memory, nativeTable(), state, patch);
    try {
      return stopper.during(memory.pid, (stopped) => uninstall(memory, patch, stopped));
    } catch (error) {
      if (error instanceof StopError) return { is: "inert", reason: error.message };
      throw error;
    }
  });
}

export const readState = (memory: TargetMemory, patch: VdsoPatch): PatchState => {
  const image = memory.read(0, patch.pristine.length);
  if (image.length === 0) throw Object.assign(new Error("The process has ended."), { code: "ESRCH" });
  if (image.length < patch.pristine.length) return { is: "foreign", reason: "Its vDSO is not the one of this kernel." };
  return classifyPatch(image, patch);
};

/** The hooks come last: before them nothing of ours runs. Needs all threads stopped, as instructions are fetched in pieces. */
function install(memory: TargetMemory, patch: VdsoPatch): void {
  const { payload, patched, gapWords, hookWords } = patch;
  const markerEnd = payload.offset + layout.selector;
  memory.write(payload.offset, patched.subarray(payload.offset, markerEnd)); // first: whatever else is found is ours then
  memory.write(markerEnd, patched.subarray(markerEnd, payload.offset + payload.length));
  writeWords(memory, gapWords, patched);
  writeWords(memory, hookWords, patched);
}

/** The reverse order; what a thread may still run through stays. */
function uninstall(memory: TargetMemory, patch: VdsoPatch, { positions }: StoppedProcess): Outcome {
  const { payload, pristine, gapWords, hookWords } = patch;
  writeWords(memory, hookWords, pristine);
  const inside = positions.filter((position) => position === undefined || isInside(memory, position, patch)).length;
  if (inside > 0) return { is: "inert", reason: `${inside} of its threads may still be inside of the patch.` };
  writeWords(memory, gapWords, pristine);
  const markerEnd = payload.offset + layout.selector;
  memory.write(markerEnd, pristine.subarray(markerEnd, payload.offset + payload.length));
  memory.write(payload.offset, pristine.subarray(payload.offset, markerEnd));
  const after = memory.read(0, pristine.length);
  return after.equals(pristine) ? { is: "done" } : { is: "failed", reason: "Its vDSO is not pristine after the patch was taken out." };
}

/**
 * New offsets go into the table that nobody reads, which is then selected: all clocks change at one moment. A renewal only moves the ends of the table
 * in force. A thread that was put to sleep with the old table in hand sees whole words of the new one, so at worst an offset a moment early.
 */
function setTable(memory: TargetMemory, table: Buffer, state: PatchState & { readonly is: "hooked" }, { payload }: VdsoPatch): void {
  const tablesAt = payload.offset + layout.tables;
  if (haveSameOffsets(table, state.table)) {
    const changed = wordsOf(table).filter((at) => table.readBigInt64LE(at) !== state.table.readBigInt64LE(at));
    for (const at of changed) memory.write(tablesAt + state.active * TABLE + at, table.subarray(at, at + 8));
    return;
  }
  const next = 1 - state.active;
  // An end turns a row on, so it comes after the offset.
  for (let row = 0; row < TABLE; row += ROW) {
    memory.write(tablesAt + next * TABLE + row, table.subarray(row, row + 8));
    memory.write(tablesAt + next * TABLE + row + 8, table.subarray(row + 8, row + ROW));
  }
  const selector = Buffer.alloc(8);
  selector.writeBigUInt64LE(BigInt(next * TABLE));
  memory.write(payload.offset + layout.selector, selector);
}

function writeWords(memory: TargetMemory, words: readonly number[], image: Buffer): void {
  for (const at of words) memory.write(at, image.subarray(at, at + 8));
}

const wordsOf = (table: Buffer): readonly number[] => Array.from({ length: table.length / 8 }, (_, index) => index * 8);

function attempt(act: () => Outcome): Outcome {
  try {
    return act();
  } catch (error) {
    if (isGone(error)) return { is: "gone" };
    return { is: "failed", reason: error instanceof Error ? error.message : String(error) };
  }
}

import { readdirSync, readFileSync } from "node:fs";
import { CHOICE_AT, CODE_AT, MARK, type Patch, tableChoices, tableOffsets } from "./patch.ts";
import type { ProcessMemory } from "./process-memory.ts";
import { decodeTable, encodeTable, ENTRY_BYTES, type SkewTable, TABLE_BYTES } from "./skew-table.ts";
import type { Stopping } from "./stopping.ts";

/** What an image of a process is like. */
export type PatchState =
  | { readonly is: "none" }
  /** `table` is undefined while none is chosen. */
  | { readonly is: "ours"; readonly choice: number; readonly table: SkewTable | undefined }
  /** A patch of ours that was not finished, in either direction. */
  | { readonly is: "partly" }
  | { readonly is: "other version" }
  | { readonly is: "foreign" }
  /** There is no image. */
  | { readonly is: "gone" };

export function stateOfImage(image: Buffer, patch: Patch): PatchState {
  if (image.length === 0) return { is: "gone" };
  if (image.length !== patch.pristine.length) return { is: "foreign" };
  if (image.equals(patch.pristine)) return { is: "none" };
  const { at, end, patched } = patch;
  if (!image.subarray(at, at + MARK.length).equals(MARK)) {
    if (image.includes(MARK)) return { is: "other version" };
    // The mark goes last: hooks without it are nobody's of ours, but for the zeros that were not written yet.
    return { is: "foreign" };
  }
  const isSame = (from: number, to: number): boolean => image.subarray(from, to).equals(patched.subarray(from, to));
  if (!isSame(at + CODE_AT, end)) return isSame(0, at) || isPristineOrPatched(image, patch) ? { is: "partly" } : { is: "other version" };
  if (![...patch.relayWords, ...patch.hookWords].every((word) => isSame(word, word + 8))) return { is: "partly" };
  const choice = image[at + CHOICE_AT] ?? 0;
  const index = tableChoices.findIndex((one) => one === choice);
  const tableAt = tableOffsets[index];
  if (tableAt === undefined) return { is: "ours", choice: 0, table: undefined };
  return { is: "ours", choice, table: decodeTable(image.subarray(at + tableAt, at + tableAt + TABLE_BYTES)) };
}

/** Whether every byte before our mark is one of the two that it may be. */
function isPristineOrPatched(image: Buffer, { at, pristine, patched }: Patch): boolean {
  for (let offset = 0; offset < at; offset += 1)
    if (image[offset] !== pristine[offset] && image[offset] !== patched[offset]) return false;
  return true;
}

/** Makes the process have this table. Its threads stand still only where the patch is not there yet. Throws when it cannot be done. */
export function applyTable(memory: ProcessMemory, patch: Patch, table: SkewTable, stopping: Stopping): void {
  const state = stateOfImage(memory.read(), patch);
  if (state.is === "gone") throw new Error(`Process ${memory.pid} is gone.`);
  if (state.is === "foreign") throw new Error(`Somebody else changed the vDSO of process ${memory.pid}, or it is a 32-bit program.`);
  if (state.is === "other version") throw new Error(`Another version of Squall patched process ${memory.pid}. Restart the container.`);
  if (state.is !== "ours") install(memory, patch, stopping);
  if (state.is === "ours" && state.table !== undefined && haveSameOffsets(state.table, table)) {
    renew(memory, patch, { state: state.table, choice: state.choice, table });
    return;
  }
  const next = state.is === "ours" && state.choice === tableChoices[0] ? 1 : 0;
  memory.write(patch.at + tableOffsets[next], encodeTable(table));
  choose(memory, patch, tableChoices[next]);
  const now = stateOfImage(memory.read(), patch);
  if (now.is !== "ours" || now.choice !== tableChoices[next])
    throw new Error(`The patch of process ${memory.pid} is ${now.is === "ours" ? "switched off" : now.is} right after it was written.`);
}

/** One byte: running threads see it before or after. */
function choose(memory: ProcessMemory, { at }: Patch, choice: number): void {
  memory.write(at + CHOICE_AT, Buffer.from([choice]));
}

/** Writing instructions is not safe beside threads that run them: what they fetch may be half old and half new. */
function install(memory: ProcessMemory, patch: Patch, stopping: Stopping): void {
  const { at, end, patched } = patch;
  stopping.whileStopped(memory.pid, () => {
    memory.write(at, patched.subarray(at, end));
    for (const word of [...patch.relayWords, ...patch.hookWords]) memory.write(word, patched.subarray(word, word + 8));
  });
}

const haveSameOffsets = (one: SkewTable, other: SkewTable): boolean =>
  one.size === other.size && [...one].every(([clockId, { offsetNs }]) => other.get(clockId)?.offsetNs === offsetNs);

/** Aligned words of eight bytes are read whole or not at all. */
function renew(
  memory: ProcessMemory,
  { at }: Patch,
  { state, choice, table }: { readonly state: SkewTable; readonly choice: number; readonly table: SkewTable },
): void {
  const tableAt = tableOffsets[tableChoices.findIndex((one) => one === choice)] ?? 0;
  for (const [clockId, { untilSeconds }] of table) {
    if (state.get(clockId)?.untilSeconds === untilSeconds) continue;
    const word = Buffer.alloc(8);
    word.writeBigInt64LE(untilSeconds);
    memory.write(at + tableAt + clockId * ENTRY_BYTES + 8, word);
  }
}

/**
 * Makes the process as it was. Its clocks are native at once; what else there is goes while its threads stand still, unless one of them is in
 * our code or may come back to it. Throws for an image that is not ours to change.
 */
export function removePatch(memory: ProcessMemory, patch: Patch, stopping: Stopping): "clean" | "inert" | "gone" {
  const state = stateOfImage(memory.read(), patch);
  if (state.is === "gone") return "gone";
  if (state.is === "none") return "clean";
  if (state.is === "foreign") throw new Error(`Somebody else changed the vDSO of process ${memory.pid}.`);
  if (state.is === "other version") return removeOther(memory, patch, stopping);
  choose(memory, patch, 0);
  return stopping.whileStopped(memory.pid, () => restore(memory, patch));
}

/** Of another version only the place of the mark may differ: the pristine image is the same. */
function removeOther(memory: ProcessMemory, patch: Patch, stopping: Stopping): "clean" | "inert" {
  return stopping.whileStopped(memory.pid, () => restore(memory, patch));
}

/** Every word that differs gets its pristine bytes: hooks first, so that nobody enters any more, the mark last. */
function restore(memory: ProcessMemory, patch: Patch): "clean" | "inert" {
  const { pristine } = patch;
  const image = memory.read();
  const markAt = image.indexOf(MARK);
  const words = Array.from({ length: pristine.length / 8 }, (_, index) => index * 8).filter(
    (word) => !image.subarray(word, word + 8).equals(pristine.subarray(word, word + 8)),
  );
  const write = (word: number): void => memory.write(word, pristine.subarray(word, word + 8));
  const ours = (word: number): boolean => (markAt >= 0 && word >= markAt) || patch.relayWords.includes(word);
  for (const word of words) if (!ours(word)) write(word);
  if (isAnyThreadInside(memory, patch.codeRanges)) return "inert";
  for (const word of words) if (ours(word) && word !== markAt) write(word);
  if (markAt >= 0) write(markAt);
  if (!memory.read().equals(pristine)) throw new Error(`The vDSO of process ${memory.pid} is not as it was after it was restored.`);
  return "clean";
}

/** As far down a stack as a signal handler or a debugger may have pushed a way back into our code. */
const STACK_BYTES = 16_384;

/** Whether a thread stands in these parts of the image, or has an address of theirs on its stack. Its threads must stand still. */
function isAnyThreadInside(memory: ProcessMemory, ranges: Patch["codeRanges"]): boolean {
  let threads: readonly string[];
  try {
    threads = readdirSync(`/proc/${memory.pid}/task`);
  } catch {
    return false; // it has ended
  }
  return threads.some((thread) => {
    let words: readonly string[];
    try {
      words = readFileSync(`/proc/${memory.pid}/task/${thread}/syscall`, "latin1").trim().split(" ");
    } catch {
      return false; // it has ended
    }
    // Not even stopped: nobody knows where it is.
    if (words[0] === "running") return true;
    const [stack, counter] = words.slice(-2).map(Number);
    if (counter !== undefined && memory.isInside(counter, ranges)) return true;
    const bytes = memory.readAddress(stack ?? 0, STACK_BYTES);
    for (let at = 0; at + 8 <= bytes.length; at += 8) {
      const high = bytes.readUInt32LE(at + 4);
      if (high !== 0 && high < 0x10000 && memory.isInside(high * 2 ** 32 + bytes.readUInt32LE(at), ranges)) return true;
    }
    return false;
  });
}

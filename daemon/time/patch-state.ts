import { layout } from "./payload.ts";
import { isNative, TABLE } from "./skew-table.ts";
import { MARKER_START, type VdsoPatch } from "./vdso-patch.ts";

/** What the vDSO of a process carries. */
export type PatchState =
  | { readonly is: "pristine" }
  /** Hooked: the tables decide what its clocks say. */
  | { readonly is: "hooked"; readonly table: Buffer; readonly active: 0 | 1 }
  /** Ours, but not hooked everywhere: what a killed patcher left, or what could not be cleaned up because a thread was inside. */
  | { readonly is: "partial" }
  | { readonly is: "foreign"; readonly reason: string };

export type FoundState = "pristine" | "skewed" | "inert" | "partial" | "foreign";

/** `image` is all of the vDSO as it lies in the process. */
export function classifyPatch(image: Buffer, patch: VdsoPatch): PatchState {
  if (image.equals(patch.pristine)) return { is: "pristine" };
  const at = patch.payload.offset;
  const isSame = (offset: number, length: number): boolean =>
    image.subarray(offset, offset + length).equals(patch.patched.subarray(offset, offset + length));
  if (!isSame(at + layout.marker, 8)) return { is: "foreign", reason: explainForeign(image) };
  const codeAt = at + layout.code;
  const isWhole =
    isSame(codeAt, at + patch.payload.length - codeAt) && [...patch.gapWords, ...patch.hookWords].every((word) => isSame(word, 8));
  const active = activeTable(image, patch);
  if (!isWhole || active === undefined) return { is: "partial" };
  const tableAt = at + layout.tables + active * TABLE;
  return { is: "hooked", active, table: Buffer.from(image.subarray(tableAt, tableAt + TABLE)) };
}

/** One word for people and metrics. */
export function nameState(state: PatchState): FoundState {
  if (state.is !== "hooked") return state.is;
  return isNative(state.table) ? "inert" : "skewed";
}

function activeTable(image: Buffer, patch: VdsoPatch): 0 | 1 | undefined {
  const selector = image.readBigUInt64LE(patch.payload.offset + layout.selector);
  if (selector === 0n) return 0;
  return selector === BigInt(TABLE) ? 1 : undefined;
}

function explainForeign(image: Buffer): string {
  return image.includes(MARKER_START)
    ? "Its vDSO carries the patch of another version of Squall, which ends by itself and cannot be built upon. Start the process anew."
    : "Something else has patched its vDSO, and that is left alone.";
}

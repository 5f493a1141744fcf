/**
 * Offsets by clock id (clock_gettime(2), 0 to 9) in nanoseconds, and when they end. A clock that is not named is native. gettimeofday() and time()
 * follow CLOCK_REALTIME, so that a skew of that clock alone is seen by whoever asks for the time of day.
 */
export interface Skew {
  readonly offsetsNs: ReadonlyMap<number, bigint>;
  /**
   * When the clocks are native again by themselves, whoever died, in monotonic milliseconds (Clock of common/clock.ts). Does not hold for the CPU
   * clocks 2 and 3, whose values have nothing to do with the time: they need an undo.
   */
  readonly untilMs: number;
}

/** What the clocks of one process read now, without any skew: by id, in nanoseconds. */
export type NativeClocks = ReadonlyMap<number, bigint>;

/** Clocks that can be skewed: ids 0 to 9. A row is the packed offset and the end, 8 bytes each; no end (0) means: not skewed. */
export const CLOCKS = 10;
export const ROW = 16;
export const TABLE = CLOCKS * ROW;

/** Furthest offset that a row can hold: 272 years either way. */
export const FURTHEST_SECONDS = 2n ** 33n;
const CPU_CLOCKS: ReadonlySet<number> = new Set([2, 3]);
/** In a row: its clock is not skewed. */
const NO_END = 0n;
const NEVER = 2n ** 63n - 1n;
const BILLION = 1_000_000_000n;

/** A table whose clocks are all native. */
export const nativeTable = (): Buffer => Buffer.alloc(TABLE);

/** Why a skew cannot be written down, in a sentence; undefined where it can. */
export function problemWithSkew({ offsetsNs }: Skew): string | undefined {
  for (const [clock, offset] of offsetsNs) {
    if (!Number.isInteger(clock) || clock < 0 || clock >= CLOCKS) return `Clock ${clock} cannot be skewed, only clocks 0 to ${CLOCKS - 1}.`;
    const { seconds } = split(offset);
    if (seconds >= FURTHEST_SECONDS || seconds < -FURTHEST_SECONDS)
      return `An offset of ${seconds} s is too far. Take one of less than ${FURTHEST_SECONDS} s (272 years) either way.`;
  }
  return undefined;
}

/**
 * The table that makes a process see these offsets for `leftNs` from now on. Each clock's end is given in that clock's own native time, as the code in
 * the vDSO can compare nothing else without reading a second clock; whoever sets a clock in between moves the end with it, until the next renewal.
 */
export function encodeTable(offsetsNs: Skew["offsetsNs"], leftNs: bigint, native: NativeClocks): Buffer {
  const table = nativeTable();
  for (const [clock, offset] of offsetsNs) {
    if (offset === 0n) continue;
    const { seconds, nanoseconds } = split(offset);
    const end = CPU_CLOCKS.has(clock) ? NEVER : (native.get(clock) ?? 0n) + leftNs;
    table.writeBigInt64LE((seconds << 30n) | nanoseconds, clock * ROW);
    table.writeBigInt64LE(end === NO_END ? 1n : end, clock * ROW + 8);
  }
  return table;
}

/** Whether two tables shift all clocks by the same offsets, whatever their ends. */
export function haveSameOffsets(one: Buffer, other: Buffer): boolean {
  return rows.every((at) => one.readBigInt64LE(at) === other.readBigInt64LE(at) && hasEnd(one, at) === hasEnd(other, at));
}

/** Whether no clock is skewed, ever again. */
export const isNative = (table: Buffer): boolean => !rows.some((at) => hasEnd(table, at));

const hasEnd = (table: Buffer, row: number): boolean => table.readBigInt64LE(row + 8) !== NO_END;
const rows = Array.from({ length: CLOCKS }, (_, clock) => clock * ROW);

/** Whole seconds, rounded down, and nanoseconds from 0 to 999,999,999 forward from there. */
function split(nanoseconds: bigint): { readonly seconds: bigint; readonly nanoseconds: bigint } {
  const rest = ((nanoseconds % BILLION) + BILLION) % BILLION;
  return { seconds: (nanoseconds - rest) / BILLION, nanoseconds: rest };
}

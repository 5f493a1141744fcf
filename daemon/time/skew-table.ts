/** What the patched code reads: for each clock how far it is off and until when. One entry of 16 bytes for each clock id from 0 to 9. */

export const CLOCKS = 10;
export const ENTRY_BYTES = 16;
export const TABLE_BYTES = CLOCKS * ENTRY_BYTES;

const NS_PER_SECOND = 1_000_000_000n;
const NANOS = 0x3fff_ffffn;
/** Seconds of an offset have 34 bits. */
const MOST_SECONDS = 1n << 33n;
export const FOR_EVER = (1n << 63n) - 1n;

export interface SkewEntry {
  /** Never 0: a clock that is not off has no entry. */
  readonly offsetNs: bigint;
  /** In seconds of this clock as it really is: from then on it is answered as it is. */
  readonly untilSeconds: bigint;
}

/** By clock id, see clock_gettime(2). */
export type SkewTable = ReadonlyMap<number, SkewEntry>;

/** Whether an offset is one that the patched code can hold: less than some 270 years. */
export const isHoldable = (offsetNs: bigint): boolean => {
  const seconds = floorSeconds(offsetNs);
  return seconds >= -MOST_SECONDS && seconds < MOST_SECONDS;
};

const floorSeconds = (ns: bigint): bigint => (ns - (((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND)) / NS_PER_SECOND;

export function encodeTable(table: SkewTable): Buffer {
  const bytes = Buffer.alloc(TABLE_BYTES);
  for (const [clockId, { offsetNs, untilSeconds }] of table) {
    const seconds = floorSeconds(offsetNs);
    bytes.writeBigInt64LE(BigInt.asIntN(64, (seconds << 30n) | (offsetNs - seconds * NS_PER_SECOND)), clockId * ENTRY_BYTES);
    bytes.writeBigInt64LE(untilSeconds, clockId * ENTRY_BYTES + 8);
  }
  return bytes;
}

export function decodeTable(bytes: Buffer): SkewTable {
  return new Map(
    Array.from({ length: CLOCKS }, (_, clockId) => clockId).flatMap((clockId) => {
      const packed = bytes.readBigInt64LE(clockId * ENTRY_BYTES);
      if (packed === 0n) return [];
      const offsetNs = (packed >> 30n) * NS_PER_SECOND + (packed & NANOS);
      return [[clockId, { offsetNs, untilSeconds: bytes.readBigInt64LE(clockId * ENTRY_BYTES + 8) }] as const];
    }),
  );
}

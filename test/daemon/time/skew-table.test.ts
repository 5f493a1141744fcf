import assert from "node:assert/strict";
import { encodeTable, haveSameOffsets, isNative, nativeTable, problemWithSkew, ROW, TABLE } from "../../../daemon/time/skew-table.ts";

const native = new Map([0, 1, 4, 5, 6, 7, 8, 9].map((clock) => [clock, 1_000_000_000n * BigInt(clock + 1)]));

/** Seconds and nanoseconds as the code in the vDSO takes them apart, and the end. */
function rowOf(table: Buffer, clock: number): { readonly seconds: bigint; readonly nanoseconds: bigint; readonly end: bigint } {
  const packed = table.readBigInt64LE(clock * ROW);
  return { seconds: packed >> 30n, nanoseconds: packed & (2n ** 30n - 1n), end: table.readBigInt64LE(clock * ROW + 8) };
}

describe("encodeTable", () => {
  for (const [offset, seconds, nanoseconds] of [
    [1n, 0n, 1n],
    [-1n, -1n, 999_999_999n],
    [3_600_000_000_000n, 3600n, 0n],
    [-3_600_500_000_001n, -3601n, 499_999_999n],
    [-1_000_000_000n, -1n, 0n],
    [2n ** 33n * 1_000_000_000n - 1n, 2n ** 33n - 1n, 999_999_999n],
    [-(2n ** 33n) * 1_000_000_000n, -(2n ** 33n), 0n],
  ] as const) {
    it(`counts nanoseconds forward from whole seconds: ${offset} ns`, () => {
      const row = rowOf(encodeTable(new Map([[0, offset]]), 0n, native), 0);
      assert.deepEqual({ seconds: row.seconds, nanoseconds: row.nanoseconds }, { seconds, nanoseconds });
    });
  }

  it("gives each clock its own offset, and its end in its own time", () => {
    const table = encodeTable(
      new Map([
        [0, 5n],
        [7, -5n],
      ]),
      60_000_000_000n,
      native,
    );
    assert.deepEqual(rowOf(table, 0), { seconds: 0n, nanoseconds: 5n, end: 61_000_000_000n });
    assert.deepEqual(rowOf(table, 7), { seconds: -1n, nanoseconds: 999_999_995n, end: 68_000_000_000n });
    for (const clock of [1, 2, 3, 4, 5, 6, 8, 9]) assert.deepEqual(rowOf(table, clock), { seconds: 0n, nanoseconds: 0n, end: 0n });
  });

  it("has no end for CPU clocks", () => {
    for (const clock of [2, 3]) assert.equal(rowOf(encodeTable(new Map([[clock, 5n]]), 1n, native), clock).end, 2n ** 63n - 1n);
  });

  it("keeps a row that ended at the clock's zero apart from a native one", () => {
    assert.equal(rowOf(encodeTable(new Map([[0, 5n]]), -1_000_000_000n, native), 0).end, 1n);
  });

  it("leaves a clock native that is off by nothing", () => {
    assert.ok(isNative(encodeTable(new Map([[0, 0n]]), 5n, native)));
    assert.equal(nativeTable().length, TABLE);
  });
});

describe("haveSameOffsets", () => {
  const table = (offset: bigint, leftNs: bigint): Buffer => encodeTable(new Map([[0, offset]]), leftNs, native);

  it("looks at offsets, not at ends", () => {
    assert.ok(haveSameOffsets(table(5n, 1n), table(5n, 2n)));
    assert.ok(!haveSameOffsets(table(5n, 1n), table(6n, 1n)));
    assert.ok(!haveSameOffsets(table(5n, 1n), nativeTable()));
  });
});

describe("problemWithSkew", () => {
  const problem = (clock: number, offset: bigint): string | undefined =>
    problemWithSkew({ offsetsNs: new Map([[clock, offset]]), untilMs: 0 });

  it("refuses clocks and offsets that the table cannot hold", () => {
    assert.equal(problem(10, 1n), "Clock 10 cannot be skewed, only clocks 0 to 9.");
    assert.match(problem(0, 2n ** 33n * 1_000_000_000n) ?? "", /too far/);
    assert.match(problem(0, -(2n ** 33n) * 1_000_000_000n - 1n) ?? "", /too far/);
    assert.equal(problem(0, 2n ** 33n * 1_000_000_000n - 1n), undefined);
    assert.equal(problem(9, -(2n ** 33n) * 1_000_000_000n), undefined);
  });
});

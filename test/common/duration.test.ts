import assert from "node:assert/strict";
import fc from "fast-check";
import { formatDuration, parseDuration, parseDurationMs } from "../../common/duration.ts";

describe("parseDuration", () => {
  const table: readonly (readonly [text: string, nanoseconds: bigint | undefined])[] = [
    ["0", 0n],
    ["-0", 0n],
    ["200ms", 200_000_000n],
    ["1h30m", 5_400_000_000_000n],
    ["1.5h", 5_400_000_000_000n],
    [".5s", 500_000_000n],
    ["1.s", 1_000_000_000n],
    ["-1s", -1_000_000_000n],
    ["+2us", 2_000n],
    ["3µs", 3_000n],
    ["0.3ns", 0n],
    ["", undefined],
    ["10", undefined],
    ["1d", undefined],
    ["1 s", undefined],
    ["1S", undefined],
    ["1e3s", undefined],
    ["s", undefined],
    [".s", undefined],
    ["1s-1s", undefined],
    ["9223372036854775807ns", 9_223_372_036_854_775_807n],
    ["9223372036854775808ns", undefined],
    ["-9223372036854775808ns", -9_223_372_036_854_775_808n],
    [`${"1".repeat(1 << 20)}s`, undefined],
  ];
  for (const [text, nanoseconds] of table) {
    it(`reads ${JSON.stringify(text.slice(0, 30))} as Go does`, () => assert.equal(parseDuration(text), nanoseconds));
  }

  it("gives back what formatDuration wrote", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (nanoseconds) =>
        assert.equal(parseDuration(formatDuration(nanoseconds)), nanoseconds),
      ),
    );
  });

  it("reads milliseconds with their fraction", () => assert.equal(parseDurationMs("1500us"), 1.5));
});

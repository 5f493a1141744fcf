import assert from "node:assert/strict";
import fc from "fast-check";
import { parseQuantity } from "../../api/quantity.ts";

describe("parseQuantity", () => {
  const table: readonly (readonly [string, number | undefined])[] = [
    ["100m", 0.1],
    ["2", 2],
    ["1.5Gi", 1.5 * 2 ** 30],
    ["64Mi", 64 * 2 ** 20],
    ["128k", 128_000],
    ["2e3", 2000],
    ["1E2", 100],
    ["1E", 1e18],
    [".5", 0.5],
    ["1.", 1],
    ["-3", -3],
    ["", undefined],
    ["m", undefined],
    ["1 Gi", undefined],
    ["1GiB", undefined],
    ["1e", undefined],
    ["0x10", undefined],
  ];
  for (const [text, amount] of table) it(`reads ${JSON.stringify(text)} as ${amount}`, () => assert.equal(parseQuantity(text), amount));

  it("reads back whole amounts with any suffix", () => {
    const suffixes = { "": 1, k: 1e3, Ki: 1024, M: 1e6, Mi: 2 ** 20, G: 1e9, Gi: 2 ** 30 } as const;
    fc.assert(
      fc.property(fc.nat(), fc.constantFrom(...(Object.keys(suffixes) as (keyof typeof suffixes)[])), (amount, suffix) => {
        assert.equal(parseQuantity(`${amount}${suffix}`), amount * suffixes[suffix]);
      }),
    );
  });
});

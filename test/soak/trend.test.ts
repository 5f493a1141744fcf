import assert from "node:assert/strict";
import fc from "fast-check";
import { quantile, slopePerThousand } from "./trend.ts";

describe("the figures of a soak", () => {
  it("have the slope of the line that they lie on, however they are scattered around it", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: -50, max: 50 }),
        fc.integer({ min: 2, max: 40 }),
        fc.integer({ min: 0, max: 300 }),
        (slope, count, start) => {
          const samples = Array.from({ length: count }, (_, index) => ({
            cycle: 500 * index,
            value: start + (slope * 500 * index) / 1_000,
          }));
          assert.ok(Math.abs(slopePerThousand(samples) - slope) < 1e-6);
        },
      ),
    );
    const scattered = [1, -1, -1, 1].map((noise, index) => ({ cycle: 1_000 * index, value: 10 + 3 * index + noise }));
    assert.equal(slopePerThousand(scattered), 3);
  });

  it("have no slope where there is nothing to compare", () => {
    assert.equal(slopePerThousand([]), 0);
    assert.equal(slopePerThousand([{ cycle: 5, value: 9 }]), 0);
  });

  it("have quantiles that are among them", () => {
    const values = Array.from({ length: 200 }, (_, index) => 200 - index);
    assert.deepEqual([quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1)], [100, 198, 200]);
    assert.equal(quantile([7], 0.99), 7);
    assert.ok(Number.isNaN(quantile([], 0.5)));
  });
});

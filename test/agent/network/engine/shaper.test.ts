import assert from "node:assert/strict";
import fc from "fast-check";
import { compileRules, type EngineShape } from "../../../../agent/network/engine/rules.ts";
import { newCopies, shapePacket } from "../../../../agent/network/engine/shaper.ts";
import { type EngineFault, engineRules } from "../../../support/engine-rules.ts";

const chance = (share: number, correlation = 0): EngineShape["loss"] => ({ share, correlation });

/** Evenly spread and the same in every run. */
function createRandom(seed = 7): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Sends packets of 1,000 bytes through faults, one each millisecond; gives the times after their arrival at which copies leave. */
function send(faults: readonly EngineFault[], { count = 20_000, everyMs = 1, bytes = 986 } = {}) {
  const compiled = compileRules(engineRules(faults));
  const state = compiled.classes.get(7) ?? assert.fail();
  const copies = newCopies();
  const random = createRandom();
  const sent: { readonly number: number; readonly delayMs: number; readonly dueMs: number; readonly flips: number }[] = [];
  for (let number = 0; number < count; number++) {
    const nowMs = 1_000_000 + number * everyMs;
    shapePacket(state, bytes, { nowMs, wallMs: nowMs, random }, copies);
    for (let i = 0; i < copies.count; i++) {
      const dueMs = copies.dueMs[i] ?? Number.NaN;
      sent.push({ number, dueMs, delayMs: dueMs - nowMs, flips: copies.flips[i] ?? 0 });
    }
  }
  return { sent, counters: compiled.counters };
}

const within = (found: number, wanted: number, share: number): void =>
  assert.ok(Math.abs(found - wanted) <= wanted * share, `${found} is not ${wanted} within ${share * 100} %`);

describe("shapePacket", () => {
  it("adds the delays of faults up and lets losses be independent", () => {
    const { sent, counters } = send([
      { id: "a", latencyUs: 30_000, loss: chance(0.2) },
      { id: "b", latencyUs: 20_000, loss: chance(0.5) },
    ]);
    within(sent.length, 20_000 * 0.8 * 0.5, 0.03);
    assert.ok(sent.every(({ delayMs }) => Math.abs(delayMs - 50) < 1e-6));
    within(counters.get("a")?.dropped ?? 0, 4000, 0.05);
    assert.equal(counters.get("b")?.matched, 20_000 - (counters.get("a")?.dropped ?? 0));
  });

  it("spreads jitter evenly, and more narrowly the more a draw depends on the one before", () => {
    const spread = (latencyCorrelation: number): number => {
      const { sent } = send([{ id: "a", latencyUs: 50_000, jitterUs: 10_000, latencyCorrelation }]);
      const mean = sent.reduce((sum, { delayMs }) => sum + delayMs, 0) / sent.length;
      within(mean, 50, 0.01);
      return Math.sqrt(sent.reduce((sum, { delayMs }) => sum + (delayMs - mean) ** 2, 0) / sent.length);
    };
    within(spread(0), 10 / Math.sqrt(3), 0.03);
    // a moving average with weight r has the variance (1-r)/(1+r) of its draws
    within(spread(0.5), (10 / Math.sqrt(3)) * Math.sqrt(1 / 3), 0.05);
  });

  it("duplicates, and loses copies independently of their originals", () => {
    const { sent, counters } = send([{ id: "a", duplicate: chance(0.25) }]);
    within(sent.length, 25_000, 0.02);
    assert.equal(counters.get("a")?.duplicated, sent.length - 20_000);
    const { sent: both } = send([{ id: "a", duplicate: chance(0.25), loss: chance(0.2) }]);
    // of the doubled, each survives alone; of the others, as a whole
    within(both.length, 20_000 * (0.75 * 0.8 + 0.25 * (0.2 + 0.8 * 1.8)), 0.03);
  });

  it("flips a bit in the share of packets that was asked for", () => {
    const { sent } = send([{ id: "a", corrupt: chance(0.1) }]);
    within(sent.filter(({ flips }) => flips === 1).length, 2000, 0.08);
    assert.equal(sent.length, 20_000);
  });

  it("sends some packets at once while the others are delayed, every gap-th at most", () => {
    const { sent } = send([{ id: "a", latencyUs: 100_000, reorder: { ...chance(0.5), gap: 1 } }]);
    within(sent.filter(({ delayMs }) => delayMs === 0).length, 10_000, 0.04);
    const { sent: fifth } = send([{ id: "a", latencyUs: 100_000, reorder: { ...chance(1), gap: 5 } }], { count: 100 });
    assert.deepEqual(
      fifth.filter(({ delayMs }) => delayMs === 0).map(({ number }) => number),
      Array.from({ length: 20 }, (_, index) => index * 5 + 4),
    );
  });

  it("keeps a rate, and loses what finds its queue full", () => {
    // 1,000 bytes each millisecond are 8 Mbit/s
    const { sent, counters } = send([{ id: "a", rateBitsPerSecond: 4_000_000, queueLimitPackets: 100 }], { count: 5000 });
    const last = sent.at(-1)?.dueMs ?? 0;
    within((sent.length * 1000 * 8) / ((last - 1_000_000) / 1000), 4_000_000, 0.01);
    within(counters.get("a")?.dropped ?? 0, 5000 - 2500 - 75, 0.05);
    assert.ok(sent.every(({ delayMs }) => delayMs <= (151 * 1000 * 8) / 4000));
  });

  it("empties a token bucket: the burst at once, the rest at the rate, the surplus never", () => {
    const bandwidth = { rateBitsPerSecond: 800_000, limitBytes: 20_000, bufferBytes: 10_000, peakRateBitsPerSecond: 0, minBurstBytes: 0 };
    const { sent, counters } = send([{ id: "a", bandwidth }], { count: 1000, everyMs: 0.001 });
    assert.equal(sent.filter(({ delayMs }) => delayMs === 0).length, 10);
    assert.equal(sent.length + (counters.get("a")?.dropped ?? 0), 1000);
    const gaps = sent.slice(11).map(({ dueMs }, index) => dueMs - (sent[index + 10]?.dueMs ?? 0));
    for (const gap of gaps) within(gap, 10, 0.01);
  });

  it("lets a bucket with a peak rate not leave all at once", () => {
    const bandwidth = {
      rateBitsPerSecond: 800_000,
      limitBytes: 50_000,
      bufferBytes: 50_000,
      peakRateBitsPerSecond: 8_000_000,
      minBurstBytes: 1600,
    };
    const { sent } = send([{ id: "a", bandwidth }], { count: 10, everyMs: 0.001 });
    assert.ok((sent.at(-1)?.delayMs ?? 0) > 8);
  });

  it("never lets packets of constant delays overtake one another, also when the delay becomes shorter", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 300_000 }), { minLength: 1, maxLength: 20 }), (latencies) => {
        let compiled = compileRules(engineRules([]));
        let last = 0;
        for (const [index, latencyUs] of latencies.entries()) {
          compiled = compileRules(engineRules([{ id: "a", latencyUs }]), compiled);
          const copies = newCopies();
          const state = compiled.classes.get(7) ?? assert.fail();
          shapePacket(state, 100, { nowMs: index, wallMs: 0, random: Math.random }, copies);
          assert.ok((copies.dueMs[0] ?? -1) >= last);
          last = copies.dueMs[0] ?? 0;
        }
      }),
    );
  });

  it("shares one rate among all classes of a rule", () => {
    const rules = engineRules([{ id: "a", rateBitsPerSecond: 8_000_000 }]);
    const { classes } = compileRules({ ...rules, classes: [...rules.classes, { queue: 8, at: "egress", rules: ["a"] }] });
    const copies = newCopies();
    for (const queue of [7, 8]) shapePacket(classes.get(queue) ?? assert.fail(), 986, { nowMs: 0, wallMs: 0, random: Math.random }, copies);
    assert.equal(copies.dueMs[0], 2);
  });

  it("never makes more than eight copies, whatever the faults", () => {
    const { sent } = send(
      Array.from({ length: 6 }, (_, index) => ({ id: String(index), duplicate: chance(1) })),
      { count: 10 },
    );
    assert.equal(sent.length, 80);
  });
});

describe("compileRules", () => {
  it("keeps the counters of faults that stay and forgets the others", () => {
    const first = compileRules(engineRules([{ id: "a" }, { id: "b" }]));
    const state = first.classes.get(7) ?? assert.fail();
    shapePacket(state, 100, { nowMs: 0, wallMs: 5, random: Math.random }, newCopies());
    const second = compileRules(engineRules([{ id: "b", latencyUs: 1 }, { id: "c" }]), first);
    assert.deepEqual(
      [...second.counters].map(([id, { matched }]) => [id, matched]),
      [
        ["b", 1],
        ["c", 0],
      ],
    );
  });

  for (const wrong of [
    { latencyUs: -1 },
    { jitterUs: Number.NaN },
    { loss: chance(1.1) },
    { corrupt: chance(0.5, -1) },
    { rateBitsPerSecond: Infinity },
  ]) {
    it(`refuses ${JSON.stringify(wrong)}`, () => {
      assert.throws(() => compileRules(engineRules([{ id: "a", ...wrong }])), /Fault a: .* is out of range/);
    });
  }
});

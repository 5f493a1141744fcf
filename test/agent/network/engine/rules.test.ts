import assert from "node:assert/strict";
import * as fc from "fast-check";
import { compileRules, drawDelayMs, drawLoss, type EngineFault, parseNetwork } from "../../../../agent/network/engine/rules.ts";

const fault = (changes: Partial<EngineFault> = {}): EngineFault => ({
  id: "a",
  networks: "all",
  latencyUs: 0,
  jitterUs: 0,
  lossPercent: 0,
  ...changes,
});
const address = (text: string): number => parseNetwork(`${text}/32`).base;

/** Gives these numbers, one after the other. */
function draws(...numbers: readonly number[]): () => number {
  const left = [...numbers];
  return () => left.shift() ?? assert.fail("more draws than expected");
}

describe("compileRules", () => {
  it("matches a destination by any of a fault's networks, and by none leaves it alone", () => {
    const rules = compileRules({ faults: [fault({ networks: ["10.244.0.7/32", "192.168.0.0/16"], latencyUs: 1 })] });
    for (const matched of ["10.244.0.7", "192.168.255.255"]) assert.ok(rules.effectOf(address(matched)));
    for (const other of ["10.244.0.8", "192.169.0.0"]) assert.equal(rules.effectOf(address(other)), undefined);
  });

  it("matches nothing by an empty list and everything by all or by the halves of the address space", () => {
    assert.equal(compileRules({ faults: [fault({ networks: [] })] }).effectOf(1), undefined);
    for (const networks of ["all", ["0.0.0.0/1", "128.0.0.0/1"], ["0.0.0.0/0"]] as const)
      for (const each of ["0.0.0.1", "255.255.255.254"]) assert.ok(compileRules({ faults: [fault({ networks })] }).effectOf(address(each)));
  });

  it("adds latencies, of the faults that match only", () => {
    const effect = compileRules({
      faults: [
        fault({ id: "a", latencyUs: 50_000 }),
        fault({ id: "b", latencyUs: 2500, networks: ["10.0.0.0/8"] }),
        fault({ id: "c", latencyUs: 900_000, networks: ["11.0.0.0/8"] }),
      ],
    }).effectOf(address("10.0.0.1"));
    assert.equal(effect && drawDelayMs(effect, draws()), 52.5);
  });

  it("draws each jitter by itself and never goes below no delay", () => {
    const effect = compileRules({
      faults: [fault({ id: "a", latencyUs: 20_000, jitterUs: 10_000 }), fault({ id: "b", jitterUs: 30_000 })],
    }).effectOf(1);
    assert.ok(effect);
    assert.equal(drawDelayMs(effect, draws(0.75, 0.5)), 25);
    assert.equal(drawDelayMs(effect, draws(0.5, 0.75)), 35);
    assert.equal(drawDelayMs(effect, draws(0, 0)), 0);
  });

  it("combines losses as independent events and gives the count to the one that hit", () => {
    const rules = compileRules({ faults: [fault({ id: "a", lossPercent: 25 }), fault({ id: "b", lossPercent: 50 })] });
    const effect = rules.effectOf(1);
    assert.ok(effect);
    assert.equal(drawLoss(effect, draws(0.24)), rules.counters.get("a"));
    assert.equal(drawLoss(effect, draws(0.25, 0.49)), rules.counters.get("b"));
    assert.equal(drawLoss(effect, draws(0.25, 0.5)), undefined);
  });

  it("loses 1 - ∏(1 - p) of all packets", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 100 }), { minLength: 1, maxLength: 4 }), (percents) => {
        const effect = compileRules({ faults: percents.map((lossPercent, i) => fault({ id: String(i), lossPercent })) }).effectOf(1);
        assert.ok(effect);
        const kept = effect.losses.reduce((product, { probability }) => product * (1 - probability), 1);
        const expected = percents.reduce((product, percent) => product * (1 - percent / 100), 1);
        assert.ok(Math.abs(kept - expected) < 1e-12);
      }),
    );
  });

  it("keeps the counters of a fault that stays and forgets those of one that goes", () => {
    const first = compileRules({ faults: [fault({ id: "a" }), fault({ id: "b" })] });
    const effect = first.effectOf(1);
    for (const counters of effect?.matching ?? []) counters.matched += 3;
    const second = compileRules({ faults: [fault({ id: "b", latencyUs: 1 }), fault({ id: "c" })] }, first);
    assert.deepEqual(
      [...second.counters].map(([id, { matched }]) => [id, matched]),
      [
        ["b", 3],
        ["c", 0],
      ],
    );
  });

  it("refuses networks that are not IPv4 and numbers out of range, naming them", () => {
    for (const network of ["10.0.0.1", "10.0.0.0/33", "fd00::/8", "10.0.0.0/8/8", "host/8", "10.0.0.0/"])
      assert.throws(() => compileRules({ faults: [fault({ networks: [network] })] }), new RegExp(`"${network}" is not an IPv4 network`));
    for (const wrong of [{ latencyUs: -1 }, { jitterUs: Number.NaN }, { lossPercent: 100.1 }, { latencyUs: Infinity }])
      assert.throws(() => compileRules({ faults: [fault(wrong)] }), /Fault a: .* is out of range/);
  });
});

import assert from "node:assert/strict";
import { renewAt } from "../../certs/renewal.ts";
import { planRotation, type StoredAuthority } from "../../certs/rotation.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const at = (days: number): Date => new Date(Date.UTC(2026, 0, 1) + days * DAY);
const ca = (id: string, bornDay: number, lifeDays = 100): StoredAuthority => ({
  id,
  notBefore: at(bornDay),
  notAfter: at(bornDay + lifeDays),
});

describe("planRotation", () => {
  it("asks for a CA where there is none", () => {
    assert.deepEqual(planRotation([], at(0)), { trusted: [], signer: undefined, isNewOneDue: true });
  });

  it("lets the only CA sign from its first moment", () => {
    assert.deepEqual(planRotation([ca("a", 0)], at(0)), { trusted: ["a"], signer: "a", isNewOneDue: false });
  });

  it("asks for the next one at half of the life of the newest", () => {
    assert.equal(planRotation([ca("a", 0)], at(49.9)).isNewOneDue, false);
    assert.equal(planRotation([ca("a", 0)], at(50)).isNewOneDue, true);
    assert.equal(planRotation([ca("a", 0), ca("b", 50)], at(51)).isNewOneDue, false);
  });

  const pair = [ca("b", 50), ca("a", 0)];
  const table: readonly [number, readonly string[], string][] = [
    [50, ["a", "b"], "a"],
    [50.99, ["a", "b"], "a"],
    [51, ["a", "b"], "b"],
    [52, ["a", "b"], "b"],
    [52.1, ["b"], "b"],
    [101, ["b"], "b"],
  ];
  for (const [day, trusted, signer] of table)
    it(`on day ${day} trusts ${trusted.join(" and ")} and signs with ${signer}`, () => {
      assert.deepEqual(planRotation(pair, at(day)), { trusted, signer, isNewOneDue: day >= 100 });
    });

  it("signs with a new CA at once when the old one has expired", () => {
    assert.deepEqual(planRotation([ca("a", 0), ca("b", 100)], at(100)), { trusted: ["b"], signer: "b", isNewOneDue: false });
  });

  it("never stops trusting a CA that signed within the life of a leaf, at any moment of ten rotations", () => {
    const stored: StoredAuthority[] = [];
    const signedUntil = new Map<string, number>();
    for (let hour = 0; hour < 24 * 500; hour += 1) {
      const now = at(hour / 24);
      if (planRotation(stored, now).isNewOneDue) stored.push(ca(`ca${stored.length}`, hour / 24));
      const { signer, trusted } = planRotation(stored, now);
      assert.ok(signer !== undefined && trusted.includes(signer));
      signedUntil.set(signer, now.getTime());
      for (const [id, last] of signedUntil) if (now.getTime() - last <= DAY) assert.ok(trusted.includes(id), `${id} at hour ${hour}`);
    }
    assert.equal(stored.length, 10);
  });
});

describe("renewAt", () => {
  it("is at half of the life, give or take a tenth of it", () => {
    const span = { notBefore: at(0), notAfter: at(10) };
    assert.deepEqual(renewAt(span), at(5));
    assert.deepEqual([renewAt(span, 0), renewAt(span, 1)], [at(4), at(6)]);
  });
});

import assert from "node:assert/strict";
import { type LastCheck, planCheck } from "../../../controller/namespaces/check-plan.ts";

const fingerprint = { rules: "r", usage: "u" };
const last = (changed: Partial<LastCheck> = {}): LastCheck => ({ fingerprint, atMs: 1_000, isConfirmed: true, isOpen: false, ...changed });

describe("planCheck", () => {
  const table: readonly (readonly [title: string, last: LastCheck | undefined, now: typeof fingerprint, afterMs: number])[] = [
    ["a namespace that was never checked", undefined, fingerprint, 0],
    ["other rules", last(), { ...fingerprint, rules: "other" }, 1_000],
    ["other usage of quotas", last(), { ...fingerprint, usage: "other" }, 5_000],
    ["rules that were checked once", last({ isConfirmed: false }), fingerprint, 35_000],
    ["something that is not known", last({ isOpen: true }), fingerprint, 60_000],
    ["nothing new", last(), fingerprint, 600_000],
  ];
  for (const [title, before, now, afterMs] of table) {
    it(`has ${title} checked after ${afterMs / 1000} s`, () => {
      assert.equal(planCheck(before, now, 1_000), afterMs);
      assert.equal(planCheck(before, now, 1_000 + afterMs), 0);
      assert.equal(planCheck(before, now, 10_000_000), 0);
    });
  }
});

import type { MethodReceipt } from "../../proto/gen/agent.ts";
import type { Counts } from "./server-messages.ts";

/** Counts of processes that served the same volume one after the other. */
export function addCounts(earlier: readonly Counts[], later: readonly Counts[]): readonly Counts[] {
  const sums = new Map(earlier.map((counts) => [counts.id, counts]));
  for (const counts of later) {
    const before = sums.get(counts.id);
    sums.set(counts.id, before === undefined ? counts : addTwo(before, counts));
  }
  return [...sums.values()];
}

function addTwo(a: Counts, b: Counts): Counts {
  const methods = new Map(a.methods.map((receipt) => [receipt.method, receipt]));
  for (const receipt of b.methods) {
    const before = methods.get(receipt.method);
    methods.set(receipt.method, before === undefined ? receipt : addReceipts(before, receipt));
  }
  return {
    id: a.id,
    methods: [...methods.values()].toSorted((one, other) => (one.method < other.method ? -1 : 1)),
    firstMs: a.firstMs === 0 || b.firstMs === 0 ? Math.max(a.firstMs, b.firstMs) : Math.min(a.firstMs, b.firstMs),
    lastMs: Math.max(a.lastMs, b.lastMs),
  };
}

const addReceipts = (a: MethodReceipt, b: MethodReceipt): MethodReceipt => ({
  method: a.method,
  seen: a.seen + b.seen,
  matched: a.matched + b.matched,
  delayed: a.delayed + b.delayed,
  failed: a.failed + b.failed,
  falsified: a.falsified + b.falsified,
});

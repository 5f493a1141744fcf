import type { DesiredFaults, Order } from "../proto/gen/agent.ts";

/** A node has up to some hundred pods, and a pod may have several faults. */
const MOST_FAULTS = 2_000;
const LONGEST_ID = 256;
const LONGEST_LEASE_MS = 24 * 3_600_000;
const LONGEST_REMAINING_MS = 100 * 365 * 24 * 3_600_000;

/** What is wrong with a message as such, whatever its faults mean; undefined when nothing is. Nothing that came over the wire is trusted. */
export function checkDesired({ order, faults }: DesiredFaults): string | undefined {
  if (order === undefined || !isCount(order.leaderEpoch) || !isCount(order.generation))
    return "The order is missing or no pair of whole numbers.";
  if (faults.length > MOST_FAULTS) return `${faults.length} faults are more than the ${MOST_FAULTS} that one agent may have.`;
  const ids = new Set<string>();
  for (const { id, leaseMs, remainingMs } of faults) {
    if (id === "" || id.length > LONGEST_ID || /[^\u0021-\u007e]/.test(id))
      return `The id of a fault is empty, longer than ${LONGEST_ID} characters or not printable.`;
    if (ids.has(id)) return `The fault ${id} is there twice.`;
    ids.add(id);
    if (!isCount(leaseMs) || leaseMs < 1 || leaseMs > LONGEST_LEASE_MS)
      return `The lease of ${id}, ${leaseMs} ms, is not between 1 ms and 24 h.`;
    if (remainingMs !== undefined && !(isCount(remainingMs) && remainingMs <= LONGEST_REMAINING_MS))
      return `The remaining time of ${id}, ${remainingMs} ms, is no sane number.`;
  }
  return undefined;
}

export function isOlder(one: Order, other: Order): boolean {
  return one.leaderEpoch !== other.leaderEpoch ? one.leaderEpoch < other.leaderEpoch : one.generation < other.generation;
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

import { type Fault, type FaultReport, FaultState, type MethodReceipt, type Receipt } from "../proto/gen/agent.ts";
import type { Remark } from "./carrier.ts";

/** One wanted fault and what has become of it. Times are monotonic milliseconds. */
export interface HeldFault {
  readonly fault: Fault;
  /** Undefined: no end but that of the lease. */
  readonly deadlineMs: number | undefined;
  readonly leaseUntilMs: number;
  readonly outcome: Outcome;
  /** What it did in the stretches before the present one. */
  readonly before: Receipt;
  /** What it did in the present stretch, as last read. */
  readonly present: Receipt;
  readonly interruptions: number;
  readonly interruptedMs: number;
  /** When the lease ended, while it is so. */
  readonly interruptedSinceMs: number | undefined;
}

export type Outcome =
  /** To be in force; `isApplied` once it is. */
  | { readonly is: "wanted"; readonly isApplied: boolean }
  | { readonly is: "refused"; readonly reason: string; readonly message: string }
  | { readonly is: "failed"; readonly reason: string; readonly message: string }
  | { readonly is: "lease-ended" }
  | { readonly is: "ended" };

export const noReceipt: Receipt = {
  matched: 0,
  dropped: 0,
  delayed: 0,
  exempted: 0,
  firstMs: 0,
  lastMs: 0,
  duplicated: 0,
  corrupted: 0,
  reordered: 0,
  processes: 0,
  oomKills: 0,
  failed: 0,
  falsified: 0,
  methods: [],
};

export function addReceipts(one: Receipt, other: Receipt): Receipt {
  const starts = [one.firstMs, other.firstMs].filter((ms) => ms > 0);
  return {
    matched: one.matched + other.matched,
    dropped: one.dropped + other.dropped,
    delayed: one.delayed + other.delayed,
    exempted: one.exempted + other.exempted,
    firstMs: starts.length === 0 ? 0 : Math.min(...starts),
    lastMs: Math.max(one.lastMs, other.lastMs),
    duplicated: one.duplicated + other.duplicated,
    corrupted: one.corrupted + other.corrupted,
    reordered: one.reordered + other.reordered,
    // how many there are, not how many there were
    processes: other.processes,
    oomKills: one.oomKills + other.oomKills,
    failed: one.failed + other.failed,
    falsified: one.falsified + other.falsified,
    methods: addMethods(one.methods, other.methods),
  };
}

function addMethods(ones: readonly MethodReceipt[], others: readonly MethodReceipt[]): MethodReceipt[] {
  const sums = new Map(ones.map((one) => [one.method, one]));
  for (const other of others) {
    const one = sums.get(other.method);
    sums.set(other.method, {
      method: other.method,
      seen: (one?.seen ?? 0) + other.seen,
      matched: (one?.matched ?? 0) + other.matched,
      delayed: (one?.delayed ?? 0) + other.delayed,
      failed: (one?.failed ?? 0) + other.failed,
      falsified: (one?.falsified ?? 0) + other.falsified,
    });
  }
  return [...sums.values()].toSorted((one, other) => one.method.localeCompare(other.method));
}

/**
 * The fault as newly wanted; what an older version of the same id did and suffered is kept. An end that was known never moves back: a new leader
 * may have a clock of its own, and a message may have been under way for long.
 */
export function holdFault(fault: Fault, nowMs: number, old: HeldFault | undefined): HeldFault {
  const wasInForce = old?.outcome.is === "wanted";
  const ends = [old?.deadlineMs, fault.remainingMs === undefined ? undefined : nowMs + fault.remainingMs].filter(
    (end) => end !== undefined,
  );
  return {
    fault,
    deadlineMs: ends.length === 0 ? undefined : Math.min(...ends),
    leaseUntilMs: nowMs + fault.leaseMs,
    outcome: old?.outcome.is === "wanted" ? old.outcome : { is: "wanted", isApplied: false },
    before: old === undefined || wasInForce ? (old?.before ?? noReceipt) : addReceipts(old.before, old.present),
    present: wasInForce ? old.present : noReceipt,
    ...interruptionsUntil(nowMs, old),
  };
}

function interruptionsUntil(
  nowMs: number,
  old: HeldFault | undefined,
): Pick<HeldFault, "interruptions" | "interruptedMs" | "interruptedSinceMs"> {
  const since = old?.interruptedSinceMs;
  return {
    interruptions: old?.interruptions ?? 0,
    interruptedMs: (old?.interruptedMs ?? 0) + (since === undefined ? 0 : nowMs - since),
    interruptedSinceMs: undefined,
  };
}

/** A heartbeat came: the lease runs anew, and a fault that was lifted for want of one is wanted again. */
export function renewLease(held: HeldFault, nowMs: number): HeldFault {
  const renewed = { ...held, leaseUntilMs: nowMs + held.fault.leaseMs };
  if (held.outcome.is !== "lease-ended") return renewed;
  return {
    ...renewed,
    outcome: { is: "wanted", isApplied: false },
    before: addReceipts(held.before, held.present),
    present: noReceipt,
    ...interruptionsUntil(nowMs, held),
  };
}

/** What time did to the fault. A deadline outranks a lease. */
export function passTime(held: HeldFault, nowMs: number): HeldFault {
  if (held.outcome.is === "ended" || held.outcome.is === "refused") return held;
  if (held.deadlineMs !== undefined && nowMs >= held.deadlineMs) {
    return { ...held, outcome: { is: "ended" }, ...interruptionsUntil(held.deadlineMs, held) };
  }
  if (nowMs >= held.leaseUntilMs && held.outcome.is !== "lease-ended") {
    return { ...held, outcome: { is: "lease-ended" }, interruptions: held.interruptions + 1, interruptedSinceMs: held.leaseUntilMs };
  }
  return held;
}

/** When time will next change this fault; undefined for never. */
export function nextChangeMs(held: HeldFault): number | undefined {
  switch (held.outcome.is) {
    case "ended":
    case "refused":
      return undefined;
    case "lease-ended":
      return held.deadlineMs;
    case "wanted":
    case "failed":
      return Math.min(held.leaseUntilMs, held.deadlineMs ?? Infinity);
  }
}

/** What is left of lease and deadline. */
export function remainingMs(held: HeldFault, nowMs: number): number {
  return Math.min(held.leaseUntilMs, held.deadlineMs ?? Infinity) - nowMs;
}

export function reportFault(
  held: HeldFault,
  nowMs: number,
  { remark, resolved }: { readonly remark: Remark | undefined; readonly resolved: FaultReport["resolved"] },
): FaultReport {
  return {
    id: held.fault.id,
    ...explainOutcome(held.outcome, remark),
    receipt: addReceipts(held.before, held.present),
    interruptions: held.interruptions,
    resolved,
    interruptedMs: Math.round(held.interruptedMs + (held.interruptedSinceMs === undefined ? 0 : nowMs - held.interruptedSinceMs)),
  };
}

function explainOutcome(outcome: Outcome, remark: Remark = { reason: "", message: "" }): Pick<FaultReport, "state" | "reason" | "message"> {
  switch (outcome.is) {
    case "wanted":
      return outcome.isApplied
        ? { state: FaultState.ACTIVE, ...remark }
        : { state: FaultState.FAILED, reason: "Applying", message: "The fault is being applied." };
    case "refused":
      return { state: FaultState.REFUSED, reason: outcome.reason, message: outcome.message };
    case "failed":
      return { state: FaultState.FAILED, reason: outcome.reason, message: outcome.message };
    case "lease-ended":
      return {
        state: FaultState.LEASE_ENDED,
        reason: "LeaseEnded",
        message: "No heartbeat of the controller came within the lease, so the fault was lifted.",
      };
    case "ended":
      return { state: FaultState.ENDED, reason: "", message: "" };
  }
}

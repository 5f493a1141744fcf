import type { ContainerRecord, RecordEvent, RecordPhase } from "../api/status.ts";
import { assertNever } from "../common/assert-never.ts";
import { annotations } from "../common/names.ts";
import type { Effect, Evidence } from "./evidence.ts";
import { recordReasons } from "./reasons.ts";

/** What a record looks like after one more look at its target. */
export interface Step {
  readonly record: ContainerRecord;
  /** Whether the next look may well find something else, so that it is not worth writing down yet. */
  readonly isUnderWay: boolean;
}

export interface StepContext {
  readonly desired: "Run" | "Stop";
  /** Whether "Stop" is desired only as long as nobody is on the other side of the fault. */
  readonly isAlone?: boolean;
  readonly now: Date;
  readonly leaseMs: number;
  /** Services that the fault should reach and cannot. */
  readonly unmatchedServices: readonly string[];
}

export const isInjected = ({ phase }: ContainerRecord): boolean => phase === "Injected" || phase === "Injected/Wait";
export const isTargetGone = ({ phase, reason }: ContainerRecord): boolean =>
  phase === "Not Injected" && reason === recordReasons.targetGone;

/** Newest last. More would make the status of a large experiment too big for the API server. */
const EVENTS_KEPT = 5;

/**
 * Moves the record of a durable fault on, by the evidence alone. `NI` is `Not Injected`, `I` is `Injected`; a phase ending
 * in /Wait says that something may be in force on the target, one without it that nothing is, or that the fault is.
 *
 * | desired | evidence             | from NI, NI/Wait        | from I, I/Wait          |
 * | ------- | -------------------- | ----------------------- | ----------------------- |
 * | Run     | gone                 | NI TargetGone           | NI TargetGone, +1       |
 * | Run     | active, held, peer   | I, +1                   | I                       |
 * | Run     | refused, failed      | NI/Wait, its reason     | I/Wait, its reason      |
 * | Run     | lease-ended          | NI/Wait LeaseExpired    | I/Wait LeaseExpired     |
 * | Run     | unreachable          | NI/Wait Unreachable     | I; past its lease I/Wait LeaseExpired |
 * | Run     | pending, absent      | NI/Wait                 | as it was               |
 * | Stop    | gone, absent, peer   | NI                      | NI, +1                  |
 * | Stop    | unreachable          | NI/Wait RecoveryUnconfirmed | I/Wait RecoveryUnconfirmed |
 * | Stop    | refused, failed      | NI/Wait RecoverFailed   | I/Wait RecoverFailed    |
 * | Stop    | active, held, lease-ended, pending | as it was | I/Wait                  |
 *
 * A plain NI record stays as it is under Stop: nothing is on its target. While nobody is on the other side of the fault the end has a
 * reason, NoPeers.
 */
export function stepRecord(record: ContainerRecord, evidence: Evidence, context: StepContext): Step {
  if (isTargetGone(record)) return settled(record);
  if (record.phase === "Not Injected" && context.desired === "Stop")
    return settled(context.isAlone === true ? explained(record, "Not Injected", recordReasons.noPeers, ALONE) : record);
  return context.desired === "Run" ? stepForward(record, evidence, context) : stepBack(record, evidence, context);
}

function stepForward(record: ContainerRecord, evidence: Evidence, context: StepContext): Step {
  const wasInjected = isInjected(record);
  const waiting: RecordPhase = wasInjected ? "Injected/Wait" : "Not Injected/Wait";
  switch (evidence.is) {
    case "gone":
      return settled(endRecord(record, recordReasons.targetGone, "The pod is gone, and the fault with it.", context));
    case "active":
      return settled(applied(withEffect(record, evidence), context, evidence.remark));
    case "held":
      return settled(applied(record, context, evidence.remark));
    case "peer":
      return settled(applied(record, context));
    case "refused":
      return settled(failed(record, waiting, { ...evidence, operation: "Apply" }, context));
    case "failed":
      return settled(failed(record, waiting, { ...evidence, operation: "Apply" }, context));
    case "lease-ended": {
      const message = "The lease ended before a heartbeat came; the fault comes back with the next one.";
      return underWay(explained(withEffect(record, evidence), waiting, recordReasons.leaseExpired, message));
    }
    case "unreachable": {
      if (!wasInjected) return underWay(explained(record, waiting, recordReasons.unreachable, evidence.why));
      if (evidence.forMs < context.leaseMs) return settled(record);
      const message = `No heartbeat got through for longer than the lease, so the fault is lifted until one does. ${evidence.why}`;
      return underWay(explained(record, waiting, recordReasons.leaseExpired, message));
    }
    case "pending":
    case "absent": {
      if (wasInjected) return underWay(record);
      // A new beginning has nothing to do with why the last one ended.
      const { reason, message } = record.phase === "Not Injected" ? {} : record;
      return underWay(explained(record, waiting, reason, message));
    }
    default:
      return assertNever(evidence);
  }
}

const ALONE = `No pod is left on the other side, so nothing is faulted. One that follows (annotation ${annotations.follow}) goes on when a pod comes.`;

function stepBack(record: ContainerRecord, evidence: Evidence, context: StepContext): Step {
  const waiting: RecordPhase = isInjected(record) ? "Injected/Wait" : "Not Injected/Wait";
  const [reason, message] = context.isAlone === true ? [recordReasons.noPeers, ALONE] : [];
  switch (evidence.is) {
    case "gone":
      return settled(endRecord(record, recordReasons.targetGone, "The pod is gone, and the fault with it.", context));
    case "peer":
      return settled(endRecord(record, reason, message, context));
    case "absent": {
      const { receipts, interruptions, resolved } = evidence;
      const seen = receipts && interruptions && resolved ? withEffect(record, { receipts, interruptions, resolved }) : record;
      return settled(endRecord(seen, reason, message, context));
    }
    case "unreachable": {
      const unheard = `Nobody confirmed that the fault is lifted; without heartbeats its lease lifts it. ${evidence.why}`;
      return underWay(explained(record, waiting, recordReasons.recoveryUnconfirmed, unheard));
    }
    case "refused":
    case "failed": {
      const cause = { reason: recordReasons.recoverFailed, message: evidence.message, operation: "Recover" as const };
      return underWay(failed(record, waiting, cause, context));
    }
    case "active":
    case "held":
    case "lease-ended":
    case "pending":
      return underWay(explained(record, waiting, record.reason, record.message));
    default:
      return assertNever(evidence);
  }
}

const settled = (record: ContainerRecord): Step => ({ record, isUnderWay: false });
const underWay = (record: ContainerRecord): Step => ({ record, isUnderWay: true });

/** The fault is in force. */
function applied(record: ContainerRecord, { now, unmatchedServices }: StepContext, remark?: Effect["remark"]): ContainerRecord {
  const isNew = !isInjected(record);
  const services =
    unmatchedServices.length === 0
      ? undefined
      : { reason: recordReasons.serviceNotMatchable, message: describeServices(unmatchedServices) };
  const { reason, message } = remark ?? services ?? {};
  const injected = explained(record, "Injected", reason, message);
  if (!isNew) return injected;
  return withEvent(
    { ...injected, injectedCount: record.injectedCount + 1 },
    { type: "Succeeded", operation: "Apply", timestamp: timeOf(now) },
  );
}

function describeServices(services: readonly string[]): string {
  const named = services.slice(0, 5).join(", ");
  const more = services.length > 5 ? ` and ${services.length - 5} more` : "";
  return `Packets to ${services.length === 1 ? "Service" : "Services"} ${named}${more} pass: only some of the endpoints are targets.`;
}

/** Nothing of the fault is left. */
function endRecord(
  record: ContainerRecord,
  reason: string | undefined,
  message: string | undefined,
  { now }: StepContext,
): ContainerRecord {
  const ended = explained(record, "Not Injected", reason, message);
  if (!isInjected(record)) return ended;
  return withEvent(
    { ...ended, recoveredCount: record.recoveredCount + 1 },
    { type: "Succeeded", operation: "Recover", timestamp: timeOf(now) },
  );
}

interface Failure {
  readonly reason: string;
  readonly message: string;
  readonly operation: RecordEvent["operation"];
}

function failed(
  record: ContainerRecord,
  phase: RecordPhase,
  { reason, message, operation }: Failure,
  { now }: StepContext,
): ContainerRecord {
  const marked = explained(record, phase, reason, message);
  const last = record.events?.at(-1);
  // Attempts that fail alike are one event: the agent tries again and again.
  if (last?.type === "Failed" && last.operation === operation && last.message === message) return marked;
  return withEvent(marked, { type: "Failed", operation, message, timestamp: timeOf(now) });
}

/** Whole seconds, as Kubernetes writes times. */
export const timeOf = (date: Date): string => `${date.toISOString().slice(0, 19)}Z`;

function withEvent(record: ContainerRecord, event: RecordEvent): ContainerRecord {
  return { ...record, events: [...(record.events ?? []), event].slice(-EVENTS_KEPT) };
}

function withEffect(record: ContainerRecord, { receipts, interruptions, resolved }: Effect): ContainerRecord {
  const { interruptions: _, resolved: __, ...rest } = record;
  return { ...rest, receipts, ...(interruptions.count > 0 && { interruptions }), ...(Object.keys(resolved).length > 0 && { resolved }) };
}

function explained(record: ContainerRecord, phase: RecordPhase, reason: string | undefined, message: string | undefined): ContainerRecord {
  const { reason: _, message: __, ...rest } = record;
  return { ...rest, phase, ...(reason !== undefined && { reason }), ...(message !== undefined && { message }) };
}

const explainGone = ({ containerID }: ContainerRecord): string =>
  containerID === undefined ? "The pod was gone already." : "The container that was picked had ended already.";

/** What came of deleting a pod or killing a container. */
export type KillOutcome = { readonly is: "killed" } | { readonly is: "gone" } | { readonly is: "failed"; readonly message: string };

/** Moves the record of a pod-kill or container-kill on. A target that went by itself between choice and act counts: it is dead. */
export function stepKill(record: ContainerRecord, outcome: KillOutcome, now: Date): ContainerRecord {
  const context: StepContext = { desired: "Run", now, leaseMs: 0, unmatchedServices: [] };
  switch (outcome.is) {
    case "killed":
      return applied(record, context);
    case "gone":
      return explained(applied(record, context), "Injected", recordReasons.targetGone, explainGone(record));
    case "failed":
      return failed(record, "Not Injected", { reason: recordReasons.killFailed, message: outcome.message, operation: "Apply" }, context);
    default:
      return assertNever(outcome);
  }
}

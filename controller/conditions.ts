import type { Condition, ConditionType, ContainerRecord, SkippedTarget } from "../api/status.ts";
import { isTargetGone, timeOf } from "./records.ts";
import { conditionReasons as reasons } from "./reasons.ts";

/** Why an experiment has no targets, or may not fault them. */
export interface Problem {
  readonly reason:
    | "NoTargets"
    | "TooManyTargets"
    | "NotYetSupported"
    | "InvalidSpec"
    | "NoAuthor"
    | "Forbidden"
    | "NamespaceNotOptedIn"
    | "PolicyViolation"
    | "BudgetExceeded"
    | "Halted";
  readonly message: string;
}

/** Pods come and go: targets may be picked at another time. */
export const isOfSelection = (problem: Problem | undefined): boolean =>
  problem?.reason === "NoTargets" || problem?.reason === "TooManyTargets" || problem?.reason === "BudgetExceeded";

export interface ConditionInput {
  readonly desired: "Run" | "Stop";
  readonly isPaused: boolean;
  /** Undefined before the selection. */
  readonly records: readonly ContainerRecord[] | undefined;
  /** What records go without, so that they fit into the object. */
  readonly omitted?: readonly string[];
  readonly skipped: readonly SkippedTarget[];
  readonly problem: Problem | undefined;
  /** Those in status now: a condition that stays keeps its time. */
  readonly before: readonly Condition[];
  readonly now: Date;
}

interface Claim {
  readonly type: ConditionType;
  readonly isTrue: boolean;
  readonly reason: string;
  readonly message: string;
}

/**
 * The four conditions of Chaos Mesh, each with a reason. Targets that are gone do not count for AllInjected; skipped pods
 * are no targets.
 */
export function planConditions(input: ConditionInput): readonly Condition[] {
  const claims = [claimSelected(input), claimInjected(input), claimRecovered(input), claimPaused(input)];
  return claims.map(({ type, isTrue, reason, message }) => {
    const status = isTrue ? "True" : "False";
    const old = input.before.find((condition) => condition.type === type);
    const lastTransitionTime = old?.status === status && old.lastTransitionTime ? old.lastTransitionTime : timeOf(input.now);
    return { type, status, reason, message, lastTransitionTime };
  });
}

function claimSelected({ records = [], omitted = [], skipped, problem }: ConditionInput): Claim {
  const type = "Selected";
  const shortened = omitted.length === 0 ? "" : ` Records go without ${omitted.join(", ")}, or the object would be too large.`;
  const skips = skipped.length === 0 ? "" : ` ${describeSkips(skipped)}`;
  if (records.length > 0)
    return {
      type,
      isTrue: true,
      reason: reasons.targetsSelected,
      message: `${countOf(records.length, "target")} picked.${skips}${shortened}`,
    };
  if (problem !== undefined) return { type, isTrue: false, ...problem };
  return { type, isTrue: false, reason: reasons.notSelectedYet, message: "Targets have not been picked yet." };
}

function claimInjected({ desired, records = [], problem }: ConditionInput): Claim {
  const type = "AllInjected";
  const alive = records.filter((record) => !isTargetGone(record));
  const injected = alive.filter(({ phase }) => phase === "Injected");
  if (alive.length > 0 && injected.length === alive.length)
    return {
      type,
      isTrue: true,
      reason: reasons.allTargetsInjected,
      message: `The fault is in force on ${countOf(alive.length, "target")}.`,
    };
  const message = `The fault is in force on ${injected.length} of ${countOf(alive.length, "target")}.${describeTrouble(alive)}`;
  if (problem !== undefined) return { type, isTrue: false, ...problem };
  if (desired === "Stop") return { type, isTrue: false, reason: reasons.stopped, message };
  if (records.length > 0 && alive.length === 0)
    return { type, isTrue: false, reason: reasons.targetsGone, message: "All pods that were picked are gone." };
  return { type, isTrue: false, reason: reasons.injecting, message };
}

function claimRecovered({ desired, records = [] }: ConditionInput): Claim {
  const type = "AllRecovered";
  const left = records.filter(({ phase }) => phase !== "Not Injected");
  if (records.length > 0 && left.length === 0)
    return { type, isTrue: true, reason: reasons.allTargetsRecovered, message: "No target has the fault." };
  if (records.length === 0) return { type, isTrue: false, reason: reasons.notSelectedYet, message: "There are no targets." };
  const isStopping = desired === "Stop";
  return {
    type,
    isTrue: false,
    reason: isStopping ? reasons.recovering : reasons.running,
    message: `${left.length} of ${countOf(records.length, "target")} may have the fault.${isStopping ? describeTrouble(left) : ""}`,
  };
}

function claimPaused({ isPaused }: ConditionInput): Claim {
  const type = "Paused";
  return isPaused
    ? { type, isTrue: true, reason: reasons.pausedByAnnotation, message: "The annotation experiment.chaos-mesh.org/pause is true." }
    : { type, isTrue: false, reason: reasons.notPaused, message: "The experiment is not paused." };
}

/** The first record in trouble, and how many more there are. */
function describeTrouble(records: readonly ContainerRecord[]): string {
  const troubled = records.filter(({ phase, reason }) => phase !== "Injected" && reason !== undefined);
  const [first] = troubled;
  if (first === undefined) return "";
  const more = troubled.length > 1 ? ` (and ${troubled.length - 1} more)` : "";
  return ` ${first.id}: ${first.reason}: ${first.message ?? ""}${more}`;
}

/** "3 pods that match were skipped: NotInjected (2), HostNetwork (1)." */
export function describeSkips(skipped: readonly SkippedTarget[]): string {
  const counts = [...Map.groupBy(skipped, ({ reason }) => reason)].map(([reason, all]) => `${reason} (${all.length})`);
  return `${countOf(skipped.length, "pod")} that ${skipped.length === 1 ? "matches was" : "match were"} skipped: ${counts.join(", ")}.`;
}

export const countOf = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

import { createHash } from "node:crypto";
import type { ContainerRecord, ExperimentStatus } from "../api/status.ts";
import { isOfSelection } from "./conditions.ts";
import type { Decision } from "./decide.ts";
import { isInjected, isTargetGone } from "./records.ts";
import { recordReasons } from "./reasons.ts";

/** One event on an experiment, before anybody names it. */
export interface ExperimentEvent {
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
  /** Part of Chaos Mesh's pipeline that reports such events. */
  readonly component: "desiredphase" | "records" | "squall";
  /** Chaos Mesh's annotations, without their prefix. */
  readonly annotations: Readonly<Record<string, string>>;
  /** Tells two events of one reason apart: the same event is not sent twice, whoever sends it. */
  readonly occasion: string;
}

type Context = Pick<Decision, "phase" | "lease" | "problem" | "unconfirmed" | "changes">;

/** What happened between two statuses, one event for each reason; texts and reasons are Chaos Mesh's where it has them. */
export function planEvents(before: ExperimentStatus, after: ExperimentStatus, context: Context): readonly ExperimentEvent[] {
  const pairs = pairRecords(before, after);
  return [
    ...phaseEvents(before, after, context),
    ...problemEvents(before, context),
    ...outcomeEvents(pairs),
    ...failureEvents(pairs, context),
    ...unconfirmedEvents(context),
  ];
}

type Pair = readonly [before: ContainerRecord | undefined, after: ContainerRecord];

function pairRecords(before: ExperimentStatus, after: ExperimentStatus): readonly Pair[] {
  const key = ({ selectorKey, id, targetUID }: ContainerRecord): string => `${selectorKey} ${id} ${targetUID ?? ""}`;
  const old = new Map((before.experiment.containerRecords ?? []).map((record) => [key(record), record]));
  return (after.experiment.containerRecords ?? []).map((record) => [old.get(key(record)), record]);
}

const phaseMessages = {
  Started: "Experiment has started",
  Deleted: "Experiment has been deleted",
  TimeUp: "Time up according to the duration",
  Paused: "Experiment has been paused",
  Halted: "Experiment has been halted",
  Uninstalled: "Squall is being uninstalled",
} as const;

function phaseEvents(before: ExperimentStatus, after: ExperimentStatus, { phase, lease }: Context): readonly ExperimentEvent[] {
  if (before.experiment.desiredPhase === after.experiment.desiredPhase || phase.cause === "Unable") return [];
  const type = phase.cause === "TimeUp" ? "time-up" : phase.cause.toLowerCase();
  const event: ExperimentEvent = {
    type: "Normal",
    reason: phase.cause,
    message: phaseMessages[phase.cause],
    component: "desiredphase",
    annotations: { type },
    // A pause ends with the next start, and each start injects once more.
    occasion: String(Math.max(0, ...(before.experiment.containerRecords ?? []).map(({ injectedCount }) => injectedCount))),
  };
  if (phase.cause !== "Started" || lease.problem === undefined) return [event];
  return [event, { ...event, type: "Warning", reason: "InvalidLease", message: lease.problem, component: "squall", annotations: {} }];
}

function problemEvents(before: ExperimentStatus, { problem }: Context): readonly ExperimentEvent[] {
  const said = before.conditions?.find(({ type }) => type === "Selected")?.message;
  if (problem === undefined || said === problem.message) return [];
  const shared = { type: "Warning", component: "records", occasion: problem.message } as const;
  if (problem.reason === "NotYetSupported")
    return [{ ...shared, reason: "NotSupported", message: problem.message, annotations: { type: "not-supported", activity: "run" } }];
  const activity = isOfSelection(problem) ? "select targets" : "start";
  return [
    {
      ...shared,
      reason: "Failed",
      message: `Failed to ${activity}: ${problem.message}`,
      annotations: { type: "failed", activity, err: problem.message },
    },
  ];
}

function outcomeEvents(pairs: readonly Pair[]): readonly ExperimentEvent[] {
  const applied = pairs.filter(([old, now]) => now.injectedCount > (old?.injectedCount ?? 0)).map(([, now]) => now);
  const recovered = pairs
    .filter(([old, now]) => now.recoveredCount > (old?.recoveredCount ?? 0) && !isTargetGone(now))
    .map(([, now]) => now);
  return [
    ...outcomeEvent("Applied", "apply", applied, ({ injectedCount }) => injectedCount),
    ...outcomeEvent("Recovered", "recover", recovered, ({ recoveredCount }) => recoveredCount),
  ];
}

function outcomeEvent(
  reason: "Applied" | "Recovered",
  verb: string,
  records: readonly ContainerRecord[],
  countOf: (record: ContainerRecord) => number,
): readonly ExperimentEvent[] {
  const [first] = records;
  if (first === undefined) return [];
  return [
    {
      type: "Normal",
      reason,
      message: `Successfully ${verb} chaos for ${nameFirst(records)}`,
      component: "records",
      annotations: { type: reason.toLowerCase(), id: first.id },
      occasion: `${countOf(first)} ${first.selectorKey} ${first.id}`,
    },
  ];
}

/** Reasons that tell of a state and of no failure. */
const plainReasons: ReadonlySet<string> = new Set([recordReasons.targetGone, recordReasons.noPeers, recordReasons.serviceNotMatchable]);
/** Reasons that tell of a fault that is to go. */
const recoveryReasons: ReadonlySet<string> = new Set([recordReasons.recoveryUnconfirmed, recordReasons.recoverFailed]);

function failureEvents(pairs: readonly Pair[], { phase }: Context): readonly ExperimentEvent[] {
  const failed = pairs
    .filter(([old, now]) => now.reason !== undefined && !plainReasons.has(now.reason) && now.reason !== old?.reason)
    .map(([, now]) => now);
  const [first] = failed;
  if (first === undefined) return [];
  const activity = phase.desired === "Stop" || recoveryReasons.has(first.reason ?? "") ? "recover chaos" : "apply chaos";
  const more = failed.length > 1 ? ` (and ${failed.length - 1} more)` : "";
  const err = `${first.id}: ${first.reason}: ${first.message ?? ""}${more}`;
  return [
    {
      type: "Warning",
      reason: "Failed",
      message: `Failed to ${activity}: ${err}`,
      component: "records",
      annotations: { type: "failed", activity, err },
      occasion: err,
    },
  ];
}

function unconfirmedEvents({ unconfirmed, changes }: Context): readonly ExperimentEvent[] {
  if (unconfirmed.length === 0) return [];
  const may = unconfirmed.some(isInjected) ? "was in force" : "may have been in force";
  return [
    {
      type: "Warning",
      reason: recordReasons.recoveryUnconfirmed,
      message: `Deleted without a confirmation that the fault is lifted, which ${may} on ${nameFirst(unconfirmed)}. ${changes.length > 0 ? "It is tried again and again." : "Without heartbeats its lease lifts it."}`,
      component: "squall",
      annotations: {},
      occasion: "",
    },
  ];
}

/** "shop/cart-1 and 49 more": a pod that is both source and target counts once. */
function nameFirst(records: readonly ContainerRecord[]): string {
  const ids = [...new Set(records.map(({ id }) => id))];
  return `${ids[0] ?? ""}${ids.length > 1 ? ` and ${ids.length - 1} more` : ""}`;
}

/** The same for the same event of the same experiment, so that whoever sends it again is told that it is there. */
export function nameOfEvent(experiment: { readonly name: string; readonly uid: string }, { reason, occasion }: ExperimentEvent): string {
  const digest = createHash("sha256").update(`${experiment.uid}\0${reason}\0${occasion}`).digest("hex").slice(0, 16);
  return `${experiment.name.slice(0, 230)}.${digest}`;
}

import type { SelectorKey } from "../api/kinds/definition.ts";
import { addressesOf, isLateJoiner } from "../api/selection.ts";
import type { ContainerRecord, SkippedTarget } from "../api/status.ts";
import { FINALIZER, nodeOfAgent } from "../common/names.ts";
import type { Pod } from "../kube/resources.ts";
import type { Wish } from "./agents/dispatcher.ts";
import type { Target as MessageTarget } from "../proto/gen/agent.ts";
import type { WantedFault } from "./agents/sender.ts";
import { actorOfRecords, agentOf } from "./agents/whose.ts";
import { isOfSelection, type Problem } from "./conditions.ts";
import { readEvidence } from "./evidence.ts";
import type { Act, BoundSpec, Target, TargetFault } from "./kinds/translator.ts";
import { isJoined } from "./late-join.ts";
import { isHeldInPods, moveHolds, type PodChange } from "./pod-failure/move-holds.ts";
import { explainHalted } from "./limits.ts";
import type { Observed } from "./observe.ts";
import { decidePhase, isFollowing, isForced, type Lease, leaseOf, type Phase } from "./phase.ts";
import { isFaulted, joinTargets, type Picked, pickTargets } from "./picking.ts";
import { isTargetGone, stepKill, stepRecord } from "./records.ts";

/** What is to be done about an experiment now, and what its records should say. */
export interface Decision {
  readonly phase: Phase;
  readonly lease: Lease;
  readonly records: readonly ContainerRecord[] | undefined;
  readonly skipped: readonly SkippedTarget[];
  readonly problem: Problem | undefined;
  /** Whether the records must be in the API server before anything is done: nothing is faulted that is not on record. */
  readonly isIntent: boolean;
  /** Whether a change may well come soon, so that writing now would only cost a write. */
  readonly isUnderWay: boolean;
  readonly wishes: readonly Wish[];
  readonly kills: readonly Kill[];
  /** What the controller changes in pods itself, for as long as the experiment runs. */
  readonly changes: readonly PodChange[];
  /** UIDs of the pods that count against budgets. */
  readonly held: readonly string[];
  readonly finalizer: "keep" | "add" | "remove";
  /** Targets that the experiment leaves without a confirmation that the fault is lifted. */
  readonly unconfirmed: readonly ContainerRecord[];
  /** Milliseconds until the next visit, if nothing happens before. */
  readonly nextMs: number | undefined;
}

/** What is to be done to a target once and for all. */
export interface Kill {
  readonly record: ContainerRecord;
  /** UID of the pod. */
  readonly uid: string;
  readonly act: Act;
  /** The node of the pod. */
  readonly node: string | undefined;
}

/** How long after its lease a deletion waits for a confirmation. */
const GRACE_MS = 5_000;
const FIRST_SELECTION_RETRY_MS = 1_000;
const LONGEST_SELECTION_RETRY_MS = 30_000;

/** Decides by what was observed alone. `randomBelow` is asked only to draw targets. */
export function decide(observed: Observed, randomBelow: (bound: number) => number): Decision {
  const { experiment, binding, now } = observed;
  const bound = binding.can === "run" ? binding.bound : undefined;
  const due = decidePhase(experiment, bound, observed);
  // Nobody answers for the fault: the experiment stands still as if it could not be carried out.
  const phase = holdBack(due, observed);
  const lease = leaseOf(experiment);
  const { pick, problem } = pickNow(observed, bound, phase, randomBelow);
  const moved = moveAll(pick?.records ?? [], observed, { bound, phase, lease });
  const ending = decideEnding(observed, moved.records, { lease, isOneShot: bound?.isOneShot === true });
  return {
    phase,
    lease,
    records: moved.records,
    skipped: pick?.skipped ?? [],
    problem,
    isIntent: isIntent(experiment.status.experiment.containerRecords, moved.records),
    isUnderWay: moved.isUnderWay,
    wishes: moved.wishes ?? [],
    kills: moved.kills ?? [],
    changes: moved.changes ?? [],
    held: heldPods(moved.records, observed, { bound, phase }),
    finalizer: ending.finalizer,
    unconfirmed: ending.unconfirmed,
    nextMs: soonest([
      ending.nextMs,
      phase.deadlineMs !== undefined && phase.desired === "Run" ? phase.deadlineMs - observed.nowMs : undefined,
      observed.refusal?.untilMs === undefined ? undefined : observed.refusal.untilMs - observed.nowMs,
      phase.desired === "Run" ? observed.allowedForMs : undefined,
      bound?.isOneShot === true ? coolsDownInMs(moved.records, now) : undefined,
      isOfSelection(problem) ? selectionRetryMs(observed.memory.emptySelections) : undefined,
      moved.nextMs,
    ]),
  };
}

/** The end of Squall, halts and refusals keep an experiment from running that is due to. */
function holdBack(due: Phase, { halted, refusal, leaving }: Observed): Phase {
  if (due.desired === "Stop" && due.cause !== "Paused") return due;
  if (leaving !== undefined) return { ...due, desired: "Stop", cause: "Uninstalled" };
  if (halted !== undefined) return { ...due, desired: "Stop", cause: "Halted" };
  if (due.desired === "Stop") return due;
  return refusal === undefined ? due : { ...due, desired: "Stop", cause: "Unable" };
}

function pickNow(
  { experiment, around, binding, refusal, halted }: Observed,
  bound: BoundSpec | undefined,
  phase: Phase,
  randomBelow: (bound: number) => number,
): { readonly pick: Picked | undefined; readonly problem: Problem | undefined } {
  const records = experiment.status.experiment.containerRecords ?? [];
  const current: Picked = { records, skipped: experiment.status.skipped ?? [] };
  if (binding.can === "not-yet" || binding.can === "never") {
    const reason = binding.can === "never" ? "InvalidSpec" : "NotYetSupported";
    return { pick: records.length > 0 ? current : undefined, problem: { reason, message: binding.why } };
  }
  if (bound === undefined || phase.desired === "Stop")
    return {
      pick: records.length > 0 ? current : undefined,
      problem: halted === undefined || phase.cause !== "Halted" ? refusal?.problem : explainHalted(halted.by),
    };
  if (records.length === 0) return pickTargets(bound.selectors, around, randomBelow);
  if (!bound.isOneShot && isFollowing(experiment)) return { pick: joinTargets(current, bound.selectors, around), problem: undefined };
  return { pick: current, problem: undefined };
}

interface Moved {
  readonly records: readonly ContainerRecord[] | undefined;
  readonly isUnderWay: boolean;
  readonly wishes?: readonly Wish[];
  readonly kills?: readonly Kill[];
  readonly changes?: readonly PodChange[];
  readonly nextMs?: number | undefined;
}

function moveAll(records: readonly ContainerRecord[], observed: Observed, context: MoveContext): Moved {
  const { bound, phase } = context;
  if (records.length === 0) return { records: undefined, isUnderWay: false };
  if (bound?.isOneShot === true) return stayPut(records, bound, phase, observed);
  if (isHeldInPods(bound, records, observed)) return moveHolds(records, observed, context);
  return moveRecords(records, observed, context);
}

/** A one-shot act is done by the visit itself; its records move by what comes of it. */
function stayPut(records: readonly ContainerRecord[], bound: BoundSpec, phase: Phase, observed: Observed): Moved {
  const { act } = bound;
  if (phase.desired === "Stop" || act === undefined) return { records, isUnderWay: false };
  const isDue = ({ phase: at }: ContainerRecord): boolean => at === "Not Injected";
  const isGone = ({ targetUID }: ContainerRecord): boolean => targetUID !== undefined && observed.findPod(targetUID) === "gone";
  const kills = records.flatMap((record): readonly Kill[] => {
    const uid = record.targetUID;
    const pod = uid === undefined ? undefined : observed.findPod(uid);
    if (!isDue(record) || uid === undefined || pod === "gone") return [];
    return [{ record, uid, act, node: pod?.spec.nodeName }];
  });
  // Killed before a crash, or gone by itself: either way there is nothing left to kill.
  const seen = records.map((record) => (isDue(record) && isGone(record) ? stepKill(record, { is: "gone" }, observed.now) : record));
  return { records: seen, isUnderWay: false, kills };
}

export interface MoveContext {
  readonly bound: BoundSpec | undefined;
  readonly phase: Phase;
  readonly lease: Lease;
}

function moveRecords(before: readonly ContainerRecord[], observed: Observed, { bound, phase, lease }: MoveContext): Moved {
  const { experiment, now, nowMs, agents } = observed;
  const persisted = new Map((experiment.status.experiment.containerRecords ?? []).map((record) => [keyOfRecord(record), record]));
  const actor = bound?.actor ?? actorOfRecords(before, observed.key.kind);
  const plan = planFaults(before, observed, bound);
  const steps = before.map((record) => {
    const uid = record.targetUID ?? "";
    const fault = plan.faults.get(keyOfRecord(record));
    const pod = observed.findPod(uid);
    const isNew = !persisted.has(keyOfRecord(record));
    // Nobody is left on the other side, so that nothing is to be in force on this one: the fault goes back, as at the end.
    const isAlone = phase.desired === "Run" && fault === undefined && pod !== "gone" && plan.isAlone(record);
    const desired = isAlone ? "Stop" : phase.desired;
    const view = agents.get(uid);
    const agent = pod === undefined || pod === "gone" ? undefined : agentOf(actor, pod);
    const id = faultIdOf(experiment.metadata.uid, record, agent ?? "");
    const carries = fault !== undefined || (agent !== undefined && mayCarry(record, { bound, desired, isReported: view?.reports.has(id) }));
    const evidence =
      pod === "gone"
        ? ({ is: "gone" } as const)
        : // What is not on record yet has not been sent, so nothing that an agent says is about it; and of a pod that
          // nothing is known of, nothing can be said.
          pod === undefined || isNew || (record.phase === "Not Injected" && desired === "Run")
          ? ({ is: "pending" } as const)
          : carries && (fault !== undefined || desired === "Stop")
            ? readEvidence(view, id, nowMs)
            : ({ is: "peer" } as const);
    const unmatchedServices = fault?.unmatchedServices ?? [];
    const step = stepRecord(record, evidence, { desired, isAlone, now, leaseMs: lease.ms, unmatchedServices });
    return { ...step, before: record, desired, agent, carries, fault, evidence };
  });
  const records = steps.map(({ record }) => record);
  const wishes = steps.flatMap(({ before: old, record, desired, agent, carries, fault }): readonly Wish[] => {
    if (!carries || agent === undefined || isTargetGone(record)) return [];
    const wish = { agent, faultId: faultIdOf(experiment.metadata.uid, record, agent) };
    // Until the end is on record the agent is kept at hand: forgotten too early, it would have to be asked again.
    if (desired === "Stop") return old.phase === "Not Injected" ? [] : [{ ...wish, fault: undefined }];
    return [{ ...wish, fault: fault && wantedFault(observed, wish, { fault, phase, lease }) }];
  });
  // A lease that runs out unheard changes what the record should say.
  const leaseEnds = steps.flatMap(({ evidence }) =>
    evidence.is === "unreachable" && evidence.forMs < lease.ms ? [lease.ms - evidence.forMs] : [],
  );
  return { records, isUnderWay: steps.some(({ isUnderWay }) => isUnderWay), wishes, nextMs: soonest(leaseEnds) };
}

const keyOfRecord = ({ selectorKey, id, targetUID }: Pick<ContainerRecord, "selectorKey" | "id" | "targetUID">): string =>
  `${selectorKey} ${id} ${targetUID ?? ""}`;

/**
 * Unique on an agent: a pod that is both source and target of an experiment carries two faults, each of its containers may carry one, and a
 * daemon carries those of all pods of its node.
 */
export function faultIdOf(experimentUid: string, { selectorKey, id, targetUID }: ContainerRecord, agent: string): string {
  const [, , container] = id.split("/");
  const pod = nodeOfAgent(agent) === undefined ? undefined : targetUID;
  return [experimentUid, selectorKey, pod, container].filter((part) => part !== undefined).join("/");
}

/**
 * Whether the agent of a target that the plan has no fault for may still have one. Pods of some selectors carry one only at times (a partition
 * acts on its other side, too, where there are sidecars): what an agent said of it is the sign there.
 */
function mayCarry(
  { selectorKey, receipts }: ContainerRecord,
  {
    bound,
    desired,
    isReported,
  }: { readonly bound: BoundSpec | undefined; readonly desired: "Run" | "Stop"; readonly isReported?: boolean | undefined },
): boolean {
  if (bound === undefined || receipts !== undefined || isReported === true) return true;
  return desired === "Stop" && bound.selectors.some((selector) => selector.key === selectorKey && isFaulted(selector));
}

interface FaultPlan {
  /** The faults of all targets that are still there, by record. */
  readonly faults: ReadonlyMap<string, TargetFault>;
  /** Whether a fault needs two sides, and nobody with an address is left on the other one. */
  isAlone(record: ContainerRecord): boolean;
}

function planFaults(records: readonly ContainerRecord[], observed: Observed, bound: BoundSpec | undefined): FaultPlan {
  if (bound === undefined) return { faults: new Map(), isAlone: () => false };
  const faulted = new Set(bound.selectors.filter(isFaulted).map(({ key }) => key));
  // What is done to the other side is for good measure: there, a daemon is asked only where late join is allowed and nothing is in its way.
  const hasAgent = (key: SelectorKey, pod: Pod): boolean =>
    agentOf(bound.actor, pod) !== undefined &&
    (bound.actor !== "sidecar" || !isLateJoiner(pod) || faulted.has(key) || isJoined(pod, observed.around));
  const here = records.flatMap((record): readonly Target[] => {
    const pod = observed.findPod(record.targetUID ?? "");
    if (pod === undefined || pod === "gone") return [];
    const { selectorKey, id } = record;
    const [, , container] = id.split("/");
    const mounts = pod.spec.containers.find(({ name }) => name === container)?.mounts ?? [];
    return [{ selectorKey, id, uid: pod.metadata.uid, addresses: addressesOf(pod), hasAgent: hasAgent(selectorKey, pod), mounts }];
  });
  const faults = bound.faultsOf({
    sources: here.filter(({ selectorKey }) => selectorKey === "."),
    targets: here.filter(({ selectorKey }) => selectorKey === ".Target"),
    coverServices: (peers) => observed.coverServices(peers),
  });
  const present = new Set(
    here.flatMap(({ selectorKey, addresses }) => (addresses.length > 0 || bound.actor === "daemon" ? [selectorKey] : [])),
  );
  return {
    faults: new Map(faults.map((fault) => [keyOfRecord({ ...fault.target, targetUID: fault.target.uid }), fault])),
    isAlone: ({ selectorKey }) => bound.selectors.some(({ key }) => key !== selectorKey && !present.has(key)),
  };
}

function wantedFault(
  observed: Observed,
  { agent, faultId }: { readonly agent: string; readonly faultId: string },
  { fault, phase, lease }: { readonly fault: TargetFault; readonly phase: Phase; readonly lease: Lease },
): WantedFault {
  const { key, experiment } = observed;
  const { target } = fault;
  const pod = observed.findPod(target.uid);
  return {
    ...(nodeOfAgent(agent) !== undefined && { target: targetOf(target, pod === "gone" ? undefined : pod) }),
    id: faultId,
    experimentUid: experiment.metadata.uid,
    experiment: key.text,
    leaseMs: lease.ms,
    deadlineMs: phase.deadlineMs,
    family: fault.family,
  };
}

/** As a daemon is told whom it acts on: a container, or a pod as a whole and its network. */
export function targetOf({ id, uid }: { readonly id: string; readonly uid: string }, found?: Pod): MessageTarget {
  const [namespace = "", pod = "", container = ""] = id.split("/");
  const network = container === "" && found && { addresses: [...addressesOf(found)], probePorts: [...(found.spec.probePorts ?? [])] };
  return { podUid: uid, namespace, pod, container, ...(network && { network }) };
}

/** A killed pod counts against budgets a while longer: what comes in its place is not there at once. */
const COOL_DOWN_MS = 30_000;

/** Pods that are faulted or about to be; only the other side of a fault is none. */
function heldPods(
  records: readonly ContainerRecord[] = [],
  observed: Observed,
  { bound, phase }: { readonly bound: BoundSpec | undefined; readonly phase: Phase },
): readonly string[] {
  const faulted = new Set((bound?.selectors ?? []).filter(isFaulted).map(({ key }) => key));
  const isHeld = (record: ContainerRecord): boolean => {
    if (!faulted.has(record.selectorKey)) return false;
    if (bound?.isOneShot === true)
      return record.phase === "Not Injected" ? phase.desired === "Run" : killedForMs(record, observed.now) < COOL_DOWN_MS;
    // One that is paused or forbidden for a while comes back to its targets, so it keeps their place.
    const comesBack = phase.desired === "Run" || phase.cause === "Paused" || phase.cause === "Unable";
    return record.phase !== "Not Injected" || (comesBack && !isTargetGone(record));
  };
  return [...new Set(records.flatMap((record) => (record.targetUID !== undefined && isHeld(record) ? [record.targetUID] : [])))];
}

/** Since when a pod is killed; forever where no event says it. */
function killedForMs({ events = [] }: ContainerRecord, now: Date): number {
  const killed = events.findLast(({ type, operation }) => type === "Succeeded" && operation === "Apply");
  return killed === undefined ? Number.POSITIVE_INFINITY : now.getTime() - Date.parse(killed.timestamp);
}

/** When the last killed pod stops to count. */
function coolsDownInMs(records: readonly ContainerRecord[] = [], now: Date): number | undefined {
  const waits = records.map((record) => COOL_DOWN_MS - killedForMs(record, now)).filter((wait) => wait > 0);
  return waits.length === 0 ? undefined : Math.max(...waits);
}

/** New records, and records that nothing was sent for so far. */
function isIntent(before: readonly ContainerRecord[] | undefined, after: readonly ContainerRecord[] | undefined): boolean {
  const known = new Map((before ?? []).map((record) => [keyOfRecord(record), record]));
  return (after ?? []).some((record) => {
    const old = known.get(keyOfRecord(record));
    return old === undefined || (old.phase === "Not Injected" && record.phase === "Not Injected/Wait");
  });
}

interface Ending {
  readonly finalizer: Decision["finalizer"];
  readonly unconfirmed: readonly ContainerRecord[];
  readonly nextMs: number | undefined;
}

/**
 * When an experiment may go: once nothing is left on its targets, by force, or when its lease is over and nobody answers. When Squall is
 * uninstalled, those go as well that nobody deletes, and all of them in the time that there is.
 */
function decideEnding(
  { experiment, nowMs, memory, leaving }: Observed,
  records: readonly ContainerRecord[] = [],
  { lease, isOneShot }: { readonly lease: Lease; readonly isOneShot: boolean },
): Ending {
  const { deletionTimestamp, finalizers = [] } = experiment.metadata;
  const hasOurs = finalizers.includes(FINALIZER);
  if (deletionTimestamp === undefined && leaving === undefined)
    return { finalizer: hasOurs ? "keep" : "add", unconfirmed: [], nextMs: undefined };
  if (!hasOurs) return { finalizer: "keep", unconfirmed: [], nextMs: undefined };
  const left = isOneShot ? [] : records.filter(({ phase }) => phase !== "Not Injected");
  // A controller that was away gives the agents the time to answer that they would have had.
  const { askedMs, seenMs } = memory.deletion ?? { askedMs: nowMs, seenMs: nowMs };
  const answersMs = Math.max(askedMs + lease.ms, seenMs) + GRACE_MS;
  const waitMs = (deletionTimestamp === undefined ? Number.POSITIVE_INFINITY : answersMs) - nowMs;
  const leftMs = leaving === undefined ? waitMs : Math.min(waitMs, leaving.byMs - nowMs);
  if (left.length === 0 || isForced(experiment) || leftMs <= 0) return { finalizer: "remove", unconfirmed: left, nextMs: undefined };
  return { finalizer: "keep", unconfirmed: [], nextMs: leftMs };
}

function selectionRetryMs(emptySelections: number): number {
  return Math.min(FIRST_SELECTION_RETRY_MS * 2 ** Math.min(emptySelections, 10), LONGEST_SELECTION_RETRY_MS);
}

export function soonest(waits: readonly (number | undefined)[]): number | undefined {
  const known = waits.flatMap((wait) => wait ?? []);
  return known.length === 0 ? undefined : Math.max(0, Math.min(...known));
}

import type { ContainerRecord } from "../api/status.ts";
import { type ExperimentName, isExperimentName } from "../api/kinds/experiments.ts";
import { assertNever } from "../common/assert-never.ts";
import { FINALIZER } from "../common/names.ts";
import { isKubeError, isTransient } from "../kube/errors.ts";
import { type Experiment, experimentResource } from "../kube/experiments.ts";
import type { Kube } from "../kube/kube.ts";
import { pods } from "../kube/resources.ts";
import type { ContainerRequest } from "../proto/gen/agent.ts";
import type { Owner, Wish } from "./agents/dispatcher.ts";
import { type Decision, type Kill, targetOf } from "./decide.ts";
import { planEvents } from "./events.ts";
import type { Memory } from "./memory.ts";
import type { Observed } from "./observe.ts";
import { changePods } from "./pod-failure/change-pods.ts";
import { type KillOutcome, type Step, stepKill, stepRecord } from "./records.ts";
import type { Recorder } from "./recorder.ts";
import { planStatus, statusPatch } from "./status.ts";

export interface ActDeps {
  readonly kube: Kube;
  readonly agents: { wish(owner: Owner, wishes: readonly Wish[]): void };
  readonly recorder: Recorder;
  /** Has the daemon of a node end a container, unless it has ended already. Throws when that cannot be done now. */
  readonly killContainer: (node: string, request: Omit<ContainerRequest, "targetUid" | "leaderEpoch">) => Promise<"killed" | "gone">;
  /** What pod-failure puts in the place of images. */
  readonly pauseImage: string;
  /** The end of the leadership. */
  readonly signal: AbortSignal;
  /** Throws when this process no longer leads. Asked before each write: a frozen process wakes up without knowing. */
  readonly mustLead: () => void;
}

export interface Results {
  /** As the API server has it now. */
  readonly experiment: Experiment;
  readonly records: readonly ContainerRecord[] | undefined;
  /** Whether a change of the records may well come soon. */
  readonly isUnderWay: boolean;
  /** An act that time may mend failed: visit again, with a back-off that grows up to this. */
  readonly retryWithinMs: number | undefined;
}

/** Pods deleted, or containers killed, at a time. */
const KILLS_AT_ONCE = 16;
const LONGEST_KILL_RETRY_MS = 60_000;
/** What is to be taken back must not wait long for an API server that is there again. */
const LONGEST_CHANGE_RETRY_MS = 5_000;

/**
 * Does what was decided: first puts on record what is about to happen, then hands faults to the senders and deletes pods.
 * Throws a KubeError when the record cannot be written; nothing was done then.
 */
export async function act(observed: Observed, decision: Decision, memory: Memory, deps: ActDeps): Promise<Results> {
  let { experiment } = observed;
  if (decision.finalizer === "add")
    experiment = await writeFinalizers(experiment, [...(experiment.metadata.finalizers ?? []), FINALIZER], deps);
  if (decision.isIntent) experiment = await writeStatus({ ...observed, experiment }, decision, { records: decision.records, memory }, deps);
  else memory.latest = experiment;
  deps.mustLead();
  deps.agents.wish({ uid: experiment.metadata.uid, key: observed.key.text }, decision.wishes);
  if (decision.changes.length > 0) return { experiment, ...(await change(observed, decision, deps)) };
  const { isUnderWay } = decision;
  if (decision.kills.length === 0) return { experiment, records: decision.records, isUnderWay, retryWithinMs: undefined };
  const { outcomes, mustRetry } = await killAll(decision.kills, deps);
  const records = (decision.records ?? []).map((record) => {
    const outcome = outcomes.get(keyOf(record));
    return outcome === undefined ? record : stepKill(record, outcome, observed.now);
  });
  return { experiment, records, isUnderWay, retryWithinMs: mustRetry ? LONGEST_KILL_RETRY_MS : undefined };
}

/** Changes pods, and moves their records by what they say then. */
async function change(
  { experiment, now }: Observed,
  { changes, records = [], phase: { desired }, lease, isUnderWay }: Decision,
  deps: ActDeps,
): Promise<Omit<Results, "experiment">> {
  const { evidence, mustRetry } = await changePods(changes, experiment.metadata, deps);
  const steps = records.map((record): Step => {
    const found = evidence.get(record);
    if (found === undefined) return { record, isUnderWay: false };
    return stepRecord(record, found, { desired, now, leaseMs: lease.ms, unmatchedServices: [] });
  });
  return {
    records: steps.map(({ record }) => record),
    isUnderWay: isUnderWay || steps.some((step) => step.isUnderWay),
    retryWithinMs: mustRetry ? LONGEST_CHANGE_RETRY_MS : undefined,
  };
}

/** Writes the status that was decided, and what events tell of the change. */
export async function writeStatus(
  observed: Observed,
  decision: Decision,
  { records, memory }: { readonly records: readonly ContainerRecord[] | undefined; readonly memory: Memory },
  { kube, recorder, signal, mustLead }: ActDeps,
): Promise<Experiment> {
  const { experiment, key, nowMs } = observed;
  const status = planStatus(observed, decision, records);
  mustLead();
  const written = await kube.patch(
    experimentResource(key.kind),
    key.ref,
    statusPatch(experiment.metadata.resourceVersion, status),
    { type: "merge", subresource: "status" },
    signal,
  );
  memory.latest = written;
  memory.lastWriteMs = nowMs;
  recorder.record(written, planEvents(experiment.status, status, decision), memory.sentEvents);
  return written;
}

/** Guarded by the version, so that nobody else's finalizer is lost. */
export async function writeFinalizers(
  { metadata, kind }: Experiment,
  finalizers: readonly string[],
  { kube, signal, mustLead }: ActDeps,
): Promise<Experiment> {
  mustLead();
  const { namespace, name, resourceVersion } = metadata;
  const body = { metadata: { resourceVersion, finalizers: finalizers.length === 0 ? null : finalizers } };
  return kube.patch(experimentResource(kindNameOf(kind)), { namespace, name }, body, { type: "merge" }, signal);
}

function kindNameOf(kind: string): ExperimentName {
  if (!isExperimentName(kind)) throw new Error(`${kind} is no kind of experiment.`);
  return kind;
}

const keyOf = ({ id, targetUID }: ContainerRecord): string => `${targetUID ?? ""} ${id}`;

/** Each only if it is still the one that was chosen. An attempt that time may mend may have no outcome yet. */
async function killAll(
  kills: readonly Kill[],
  deps: ActDeps,
): Promise<{ readonly outcomes: ReadonlyMap<string, KillOutcome>; readonly mustRetry: boolean }> {
  const outcomes = new Map<string, KillOutcome>();
  let mustRetry = false;
  for (let start = 0; start < kills.length; start += KILLS_AT_ONCE) {
    await Promise.all(
      kills.slice(start, start + KILLS_AT_ONCE).map(async (kill) => {
        const outcome = await killOne(kill, deps);
        if (outcome === "retry") mustRetry = true;
        else outcomes.set(keyOf(kill.record), outcome);
        if (outcome !== "retry" && outcome.is === "failed") mustRetry = true;
      }),
    );
  }
  return { outcomes, mustRetry };
}

function killOne(kill: Kill, deps: ActDeps): Promise<KillOutcome | "retry"> {
  deps.mustLead();
  switch (kill.act.do) {
    case "delete-pod":
      return deletePod(kill, kill.act, deps);
    case "kill-container":
      return killContainer(kill, deps);
    default:
      return assertNever(kill.act);
  }
}

async function killContainer({ record, uid, node }: Kill, deps: ActDeps): Promise<KillOutcome | "retry"> {
  // The caches do not have the pod yet, or not any more: the next visit knows.
  if (node === undefined || record.containerID === undefined) return "retry";
  try {
    const outcome = await deps.killContainer(node, { target: targetOf({ id: record.id, uid }), containerId: record.containerID });
    return { is: outcome };
  } catch (error) {
    return { is: "failed", message: error instanceof Error ? error.message : String(error) };
  }
}

async function deletePod(
  { record, uid }: Kill,
  { graceSeconds }: { readonly graceSeconds: number },
  { kube, signal }: ActDeps,
): Promise<KillOutcome | "retry"> {
  const [namespace = "", name = ""] = record.id.split("/");
  try {
    await kube.delete(pods, { namespace, name }, { gracePeriodSeconds: graceSeconds, uid }, signal);
    return { is: "killed" };
  } catch (error) {
    if (isKubeError(error, "not-found")) return { is: "gone" };
    // A conflict is most often another pod of that name; whether the one that was chosen is gone, the next visit finds out.
    if (isTransient(error) || isKubeError(error, "conflict")) return "retry";
    return { is: "failed", message: error instanceof Error ? error.message : String(error) };
  }
}

import { FINALIZER } from "../common/names.ts";
import { isKubeError } from "../kube/errors.ts";
import { experimentResource } from "../kube/experiments.ts";
import { type ActDeps, act, type Results, writeFinalizers, writeStatus } from "./act.ts";
import type { Owner, Wish } from "./agents/dispatcher.ts";
import { isOfSelection } from "./conditions.ts";
import { type Decision, decide, soonest } from "./decide.ts";
import { planEvents } from "./events.ts";
import { type ExperimentKey, parseExperimentKey } from "./experiment-key.ts";
import type { Memory } from "./memory.ts";
import { type ObserveDeps, type Observed, observe } from "./observe.ts";
import { compareStatuses, planStatus, planWrite } from "./status.ts";

export interface ReconcileDeps extends ObserveDeps, ActDeps {
  readonly agents: ObserveDeps["agents"] & { wish(owner: Owner, wishes: readonly Wish[]): void; forget(experimentUid: string): void };
  /** Whole numbers from 0 up to the bound, the bound excluded; not to be guessed. */
  readonly randomBelow: (bound: number) => number;
  /** Told how many targets an experiment left without a confirmation that the fault is lifted. */
  readonly countUnconfirmed?: ((targets: number) => void) | undefined;
}

/** When to come again if nothing happens before; undefined for never. */
export interface Outcome {
  readonly nextMs: number | undefined;
}

/** Some failures cost nothing but a second try, right away, from a fresh look. */
const AGAIN: Outcome = { nextMs: 0 };
const FIRST_RETRY_MS = 1_000;

/**
 * One visit to an experiment: read everything once, decide purely, act, report. Knows only the key, never trusts what woke it, and changes
 * nothing when done twice. Throws what time may mend.
 */
export async function reconcile(keyText: string, deps: ReconcileDeps): Promise<Outcome> {
  const key = parseExperimentKey(keyText);
  const remembered = deps.memories.get(key.text);
  const observed = await observe(key, deps);
  const memory = deps.memories.get(key.text);
  // One of the same name took its place: what the old one wanted is nobody's wish any more.
  if (remembered !== undefined && memory !== undefined && remembered.uid !== memory.uid) {
    deps.agents.forget(remembered.uid);
    deps.ledger.release(remembered.uid);
  }
  if (observed === "gone" || memory === undefined) {
    forget(key, memory, deps);
    return { nextMs: undefined };
  }
  const decision = decide(observed, deps.randomBelow);
  // In the same turn as the decision: nobody else is granted this room.
  deps.ledger.hold(memory.uid, decision.held, (uid) => deps.world.pod(uid));
  if (decision.problem?.reason === "BudgetExceeded") deps.ledger.wait(key.text);
  memory.emptySelections = isOfSelection(decision.problem) ? memory.emptySelections + 1 : 0;
  try {
    const results = await act(observed, decision, memory, deps);
    const seen = { ...observed, experiment: results.experiment };
    if (decision.finalizer === "remove") {
      await letGo(seen, { ...decision, records: results.records, unconfirmed: stillUnconfirmed(decision, results) }, memory, deps);
      return { nextMs: undefined };
    }
    const waitMs = await report(seen, { ...decision, isUnderWay: results.isUnderWay }, { records: results.records, memory }, deps);
    memory.failedActs = results.retryWithinMs === undefined ? 0 : memory.failedActs + 1;
    const retryMs = results.retryWithinMs === undefined ? undefined : Math.min(backOffMs(memory.failedActs), results.retryWithinMs);
    return { nextMs: soonest([decision.nextMs, waitMs, retryMs]) };
  } catch (error) {
    if (isKubeError(error, "conflict")) return await lookAgain(key, memory, deps);
    if (!isKubeError(error, "not-found")) throw error;
    bury(key, memory, deps);
    return { nextMs: undefined };
  }
}

/** Somebody changed the object first. The cache may take its time to hear of it; the API server knows now. */
async function lookAgain({ kind, ref, text }: ExperimentKey, memory: Memory, deps: ReconcileDeps): Promise<Outcome> {
  try {
    deps.memories.recall(text, await deps.kube.get(experimentResource(kind), ref, deps.signal), deps.clock);
    if (deps.memories.get(text)?.uid !== memory.uid) {
      deps.agents.forget(memory.uid);
      deps.ledger.release(memory.uid);
    }
    return AGAIN;
  } catch (error) {
    if (!isKubeError(error, "not-found")) throw error;
    bury({ kind, ref, text }, memory, deps);
    return { nextMs: undefined };
  }
}

const backOffMs = (failures: number): number => FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 10);

/** Those whose end the last act did not find out. */
const stillUnconfirmed = ({ unconfirmed }: Decision, { records = [] }: Results): Decision["unconfirmed"] =>
  unconfirmed.length === 0 ? [] : records.filter(({ phase }) => phase !== "Not Injected");

/** Writes the status if it is time to; otherwise gives back in how many milliseconds it will be. */
async function report(
  observed: Observed,
  decision: Decision,
  { records, memory }: { readonly records: Parameters<typeof planStatus>[2]; readonly memory: Memory },
  deps: ActDeps,
): Promise<number | undefined> {
  const { experiment, nowMs } = observed;
  const difference = compareStatuses(experiment.status, planStatus(observed, decision, records));
  // What is written while more is to come is one step of the same change.
  const settle = (): void => {
    if (!decision.isUnderWay) memory.busySinceMs = undefined;
  };
  if (difference === "same") {
    settle();
    return undefined;
  }
  memory.busySinceMs ??= nowMs;
  const plan = planWrite({
    difference,
    records: records?.length ?? 0,
    isUnderWay: decision.isUnderWay,
    nowMs,
    busySinceMs: memory.busySinceMs,
    lastWriteMs: memory.lastWriteMs,
  });
  if (plan.write !== "now") return plan.waitMs;
  await writeStatus(observed, decision, { records, memory }, deps);
  settle();
  return undefined;
}

/** The end of an experiment that is deleted, or of Squall: nothing is left on its targets, or nobody can say so and its lease is over. Says so before it goes. */
async function letGo(observed: Observed, decision: Decision, memory: Memory, deps: ReconcileDeps): Promise<void> {
  const { key } = observed;
  let { experiment } = observed;
  const isDeleted = experiment.metadata.deletionTimestamp !== undefined;
  if (isDeleted) {
    const status = planStatus(observed, decision, decision.records);
    deps.recorder.record(experiment, planEvents(experiment.status, status, decision), memory.sentEvents);
  } else experiment = await writeStatus(observed, decision, { records: decision.records, memory }, deps);
  const others = (experiment.metadata.finalizers ?? []).filter((finalizer) => finalizer !== FINALIZER);
  memory.latest = await writeFinalizers(experiment, others, deps);
  if (decision.unconfirmed.length > 0) deps.countUnconfirmed?.(decision.unconfirmed.length);
  if (others.length === 0 && isDeleted) bury(key, memory, deps);
  else deps.agents.forget(memory.uid);
}

function bury(key: ExperimentKey, memory: Memory, { agents, memories, ledger }: ReconcileDeps): void {
  agents.forget(memory.uid);
  ledger.release(memory.uid);
  memories.bury(key.text, memory.uid);
}

function forget(key: ExperimentKey, memory: Memory | undefined, { agents, memories, ledger }: ReconcileDeps): void {
  if (memory) agents.forget(memory.uid);
  if (memory) ledger.release(memory.uid);
  memories.forget(key.text);
}

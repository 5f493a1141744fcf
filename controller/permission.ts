import { parseAuthor } from "../api/author.ts";
import { describeRight, reachOfObject, type Right, suggestQuestion } from "../api/reach.ts";
import { isLateJoiner } from "../api/selection.ts";
import type { ContainerRecord } from "../api/status.ts";
import { show } from "../api/text.ts";
import { annotations, labels, OPTED_IN } from "../common/names.ts";
import type { AccessReviews } from "../kube/access.ts";
import type { Problem } from "./conditions.ts";
import type { BoundSpec } from "./kinds/translator.ts";
import type { Observed } from "./observe.ts";
import { decidePhase } from "./phase.ts";
import { conditionReasons as reasons } from "./reasons.ts";

/** Why the first fault of an experiment may not be sent. */
export interface Refusal {
  readonly problem: Problem;
  /** When to ask again, monotonic; undefined where time does not mend it. */
  readonly untilMs: number | undefined;
  /** Refusals in a row. */
  readonly times: number;
}

const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;

/**
 * Looks once more, right before the first fault, what admission looked at: who answers for the experiment, what they may do, and whether
 * its namespaces opted in. Rights can have been taken away since, and the webhook can have been away. Undefined where the fault may be
 * sent, and where none is about to be. Throws what time may mend when the API server cannot be asked.
 */
export async function readRefusal(
  observed: Observed,
  { access, signal }: { readonly access: AccessReviews; readonly signal: AbortSignal },
): Promise<Refusal | undefined> {
  const { key, experiment, binding, nowMs, memory } = observed;
  if (binding.can !== "run" || decidePhase(experiment, binding.bound, observed).desired === "Stop") return undefined;
  const records = experiment.status.experiment.containerRecords ?? [];
  if (!isBeforeFirstFault(records, binding.bound)) return undefined;
  if (memory.refusal?.untilMs !== undefined && nowMs < memory.refusal.untilMs) return memory.refusal;
  const author = parseAuthor(experiment.metadata.annotations?.[annotations.author]);
  if (author === undefined) return { problem: { reason: reasons.noAuthor, message: NO_AUTHOR }, untilMs: undefined, times: 1 };
  const missing = await access.findMissing(author, reachOfObject(key.kind, experiment, key.ref), signal);
  const problem = missing.length > 0 ? explainMissing(author.username, missing) : findWithdrawn(records, binding.bound, observed);
  if (problem === undefined) return undefined;
  const times = (memory.refusal?.times ?? 0) + 1;
  return { problem, untilMs: nowMs + Math.min(FIRST_RETRY_MS * 2 ** Math.min(times - 1, 10), LONGEST_RETRY_MS), times };
}

/** Whether no target has the fault, so that the next thing sent is a first one: at the start, and after a pause. */
function isBeforeFirstFault(records: readonly ContainerRecord[], { isOneShot }: BoundSpec): boolean {
  if (records.length === 0) return true;
  const isUntouched = ({ phase }: ContainerRecord): boolean => phase === "Not Injected";
  return isOneShot ? records.some(isUntouched) : records.every(isUntouched);
}

const NO_AUTHOR = `Nobody answers for it: the annotation ${annotations.author} is missing or cannot be read. It was applied while Squall's webhook was away, or before Squall wrote authors down. Delete it and apply it again.`;

function explainMissing(username: string, [first, ...others]: readonly Right[]): Problem {
  const what = first === undefined ? "" : `${describeRight(first)}.${suggestQuestion(first, username)}`;
  const more = others.length === 0 ? "" : ` (and ${others.length} more)`;
  return { reason: reasons.forbidden, message: `Its author ${show(username)} may not ${what}${more}` };
}

/** Picking leaves out pods of namespaces that did not opt in; those on record were picked before. */
function findWithdrawn(
  records: readonly ContainerRecord[],
  { selectors }: BoundSpec,
  observed: Pick<Observed, "around" | "findPod">,
): Problem | undefined {
  const needs = new Map(selectors.map(({ key, need }) => [key, need]));
  for (const { selectorKey, id, targetUID = "" } of records) {
    const need = needs.get(selectorKey);
    if (need === undefined || need === "address") continue;
    const namespace = id.slice(0, id.indexOf("/"));
    const optIn = observed.around.optInOf(namespace);
    if (optIn === "none") return explainWithdrawn(namespace, "has opted out", labels.inject);
    const pod = observed.findPod(targetUID);
    const isJoining = need === "network" && pod !== undefined && pod !== "gone" && isLateJoiner(pod);
    if (isJoining && optIn !== "late-join") return explainWithdrawn(namespace, "does not allow late join any more", labels.lateJoin);
  }
  return undefined;
}

const explainWithdrawn = (namespace: string, what: string, label: string): Problem => ({
  reason: reasons.namespaceNotOptedIn,
  message: `The namespace ${namespace} ${what} since its pods were picked. Run: kubectl label namespace ${namespace} ${label}=${OPTED_IN}`,
});

import { sizeOf, workloadOf, whyOverBudget } from "../api/policy/budget.ts";
import { actsOf } from "../api/policy/acts.ts";
import { findViolations, minutesLeft, type Policy, policiesFor, protectorOf } from "../api/policy/violations.ts";
import { isFinished, type Skip } from "../api/selection.ts";
import type { ContainerRecord } from "../api/status.ts";
import type { Experiment } from "../kube/experiments.ts";
import { describeHalt, type Limits } from "../kube/limits.ts";
import type { Pod } from "../kube/resources.ts";
import type { Problem } from "./conditions.ts";
import type { Ledger } from "./ledger.ts";
import type { Refusal } from "./permission.ts";
import { conditionReasons as reasons } from "./reasons.ts";
import type { World } from "./world.ts";

/** What halts and policies say of one experiment at the moment of a visit. */
export interface Restraint {
  /** Who halts it, in words; undefined where nobody does. */
  readonly haltedBy: string | undefined;
  /** Why it may not run, by policies. */
  readonly refusal: Refusal | undefined;
  /** Milliseconds until it may not run any more, if nothing else changes; more than 0. */
  readonly untilMs: number | undefined;
  /** Why a pod may never be a target of it. */
  readonly protects: (pod: Pod) => Skip | undefined;
  /** Why these pods, together with what other experiments fault, are too many; undefined where every budget grants them. */
  readonly whyOverBudget: (pods: readonly Pod[]) => string | undefined;
}

export const unlimited: Restraint = {
  haltedBy: undefined,
  refusal: undefined,
  untilMs: undefined,
  protects: () => undefined,
  whyOverBudget: () => undefined,
};

/** How often what only time changes is looked at while a policy forbids it. */
const RETRY_MS = 30_000;

export interface RestraintDeps {
  readonly world: Pick<World, "labelsOf" | "podsOf">;
  readonly limits: Pick<Limits, "policies" | "haltOn" | "isIdle">;
  readonly ledger: Ledger;
  /** Whose pods are faulted, and not only the other side. */
  readonly faultedKeys: ReadonlySet<string>;
  /** Whether the experiment kills pods. */
  readonly isKill: boolean;
  readonly now: Date;
  readonly nowMs: number;
}

/** Reads what limits an experiment, from memory alone. */
export function restrain(experiment: Experiment, podOf: (uid: string) => Pod | undefined, deps: RestraintDeps): Restraint {
  const { world, limits, ledger, faultedKeys, isKill, now, nowMs } = deps;
  if (limits.isIdle) return unlimited;
  const { kind, metadata, spec, status } = experiment;
  const namespace = metadata.namespace ?? "";
  const records = status.experiment.containerRecords ?? [];
  const acts = actsOf(kind, { spec }, { namespace });
  const recorded = records.map(({ id }) => id.slice(0, id.indexOf("/")));
  const touched = acts.some((act) => act.namespaces === "all")
    ? "all"
    : [...new Set([...acts.flatMap((act) => act.namespaces), ...recorded])];
  const labelsOf = (name: string): Readonly<Record<string, string>> | undefined => world.labelsOf(name);
  const halt = limits.haltOn(touched);
  const policies = policiesFor(limits.policies, touched, labelsOf);
  if (policies.length === 0) return { ...unlimited, haltedBy: halt && describeHalt(halt) };
  const protects = (pod: Pod): Skip | undefined => {
    const protector = protectorOf(policies, { namespace: pod.metadata.namespace ?? "", labels: pod.metadata.labels }, labelsOf);
    return protector && { reason: "Protected", message: `Policy ${protector.name} (spec.protected) keeps this pod from being a target.` };
  };
  const violations = findViolations(policies, { acts, annotations: metadata.annotations ?? {} }, { now, labelsOf });
  const message =
    violations.map((violation) => `${violation.path}: ${violation.message}`).join(" ") ||
    explainProtected(
      records.filter(({ selectorKey }) => faultedKeys.has(selectorKey)),
      podOf,
      protects,
    );
  const minutes = minutesLeft(policies, now);
  return {
    haltedBy: halt && describeHalt(halt),
    refusal:
      message === undefined ? undefined : { problem: { reason: reasons.policyViolation, message }, untilMs: nowMs + RETRY_MS, times: 1 },
    // At 0 it is forbidden already, and `refusal` says when to look again.
    untilMs: minutes === undefined || minutes <= 0 ? undefined : minutes * 60_000,
    protects,
    whyOverBudget: (pods) =>
      explainBudget(pods, { isKill, policies, uid: metadata.uid, labelsOf, ledger, podsOf: (workload) => world.podsOf(workload) }),
  };
}

/** A target that was picked before a policy came to protect it. */
function explainProtected(
  records: readonly ContainerRecord[],
  podOf: (uid: string) => Pod | undefined,
  protects: (pod: Pod) => Skip | undefined,
): string | undefined {
  for (const { id, targetUID } of records) {
    const pod = podOf(targetUID ?? "");
    const skip = pod && protects(pod);
    if (skip !== undefined) return `${id}: ${skip.message}`;
  }
  return undefined;
}

function explainBudget(
  pods: readonly Pod[],
  {
    isKill,
    policies,
    uid,
    labelsOf,
    ledger,
    podsOf,
  }: {
    readonly isKill: boolean;
    readonly policies: readonly Policy[];
    readonly uid: string;
    readonly labelsOf: World["labelsOf"];
    readonly ledger: Ledger;
    readonly podsOf: World["podsOf"];
  },
): string | undefined {
  if (policies.every(({ spec }) => spec.budget === undefined)) return undefined;
  for (const [workload, asked] of Map.groupBy(pods, workloadOf)) {
    const all = podsOf(workload);
    // Kills one after the other would take a workload down if what was killed before and is not ready again did not count.
    const down = isKill ? all.filter((pod) => !isReady(pod) && !isFinished(pod)).map(({ metadata }) => metadata.uid) : [];
    const inUse = new Set([...ledger.inUse(workload, uid), ...down]);
    const wanted = inUse.union(new Set(asked.map(({ metadata }) => metadata.uid)));
    const concerned = policiesFor(policies, [workload.slice(0, workload.indexOf("/"))], labelsOf);
    const why = whyOverBudget(concerned, { workload, size: sizeOf(all), inUse: inUse.size, wanted: wanted.size });
    if (why !== undefined) return why;
  }
  return undefined;
}

const isReady = ({ metadata, status }: Pod): boolean =>
  metadata.deletionTimestamp === undefined && status.conditions.some(({ type, status: is }) => type === "Ready" && is === "True");

export const explainHalted = (by: string): Problem => ({
  reason: reasons.halted,
  message: `${by} stopped it. It stays stopped: apply it anew if you still want it once the halt is gone.`,
});

import type { OwnedPod } from "./policy/budget.ts";
import { sizeOf, whyOverBudget, workloadOf } from "./policy/budget.ts";
import type { Act } from "./policy/acts.ts";
import { type Around, type Policy, policiesFor, protectorOf } from "./policy/violations.ts";
import type { Selection } from "./kinds/definition.ts";
import type { OptIn } from "./opt-in.ts";
import { countDrawn, matchPods, type SelectableNode, type SelectablePod, type Skip, whySkipped } from "./selection.ts";

/** What an experiment would do to the pods of this moment, before it does. */

export interface PlannedSelection<P> {
  readonly key: Selection["key"];
  /** Whether its pods are faulted, and not only the other side. */
  readonly isFaulted: boolean;
  readonly candidates: readonly P[];
  readonly skipped: readonly { readonly pod: P; readonly skip: Skip }[];
  /** How many of the candidates are picked. */
  readonly least: number;
  readonly most: number;
  /** Whether it is left to chance which ones. */
  readonly isRandom: boolean;
}

/** The workload of which the largest share may be faulted. */
export interface WorkloadShare {
  readonly workload: string;
  readonly size: number;
  readonly most: number;
}

export interface ActPlan<P> {
  readonly selections: readonly PlannedSelection<P>[];
  /** By share, largest first. */
  readonly shares: readonly WorkloadShare[];
  /** Names of the policies that have a say. */
  readonly policies: readonly string[];
  /** Names of policies whose budget is too small for what may be drawn, whatever other experiments do. */
  readonly tooSmall: readonly string[];
}

export interface PlanSurroundings<P> {
  readonly pods: readonly P[];
  readonly nodes: readonly SelectableNode[];
  readonly policies: readonly Policy[];
  readonly labelsOf: Around["labelsOf"];
  readonly optInOf: (namespace: string) => OptIn;
}

export function planAct<P extends SelectablePod & OwnedPod>(act: Act, around: PlanSurroundings<P>): ActPlan<P> {
  const policies = policiesFor(around.policies, act.namespaces, around.labelsOf);
  const selections = act.selections.map((selection) => planSelection(selection, { ...around, policies }));
  const shares = sharesOf(selections, around.pods);
  return { selections, shares, policies: policies.map(({ name }) => name), tooSmall: findTooSmall(shares, policies, around.labelsOf) };
}

function planSelection<P extends SelectablePod & OwnedPod>(
  selection: Selection,
  { pods, nodes, policies, labelsOf, optInOf }: PlanSurroundings<P>,
): PlannedSelection<P> {
  const { key, block, need } = selection;
  const isFaulted = need !== "address";
  const judged = matchPods(block.selector, pods, nodes).map((pod) => {
    const protector = isFaulted
      ? protectorOf(policies, { namespace: pod.metadata.namespace ?? "", labels: pod.metadata.labels }, labelsOf)
      : undefined;
    const isProtected: Skip | undefined = protector && {
      reason: "Protected",
      message: `Policy ${protector.name} (spec.protected) protects it.`,
    };
    return { pod, skip: whySkipped(pod, selection, optInOf) ?? isProtected };
  });
  const candidates = judged.flatMap(({ pod, skip }) => (skip === undefined ? [pod] : []));
  const skipped = judged.flatMap(({ pod, skip }) => (skip === undefined ? [] : [{ pod, skip }]));
  const { least, most } = countDrawn(candidates.length, block);
  return { key, isFaulted, candidates, skipped, least, most, isRandom: least < candidates.length };
}

/** Any candidate may be drawn, so of each workload the most that chance allows. */
function sharesOf<P extends SelectablePod & OwnedPod>(
  selections: readonly PlannedSelection<P>[],
  pods: readonly P[],
): readonly WorkloadShare[] {
  const sizes = new Map([...Map.groupBy(pods, workloadOf)].map(([workload, all]) => [workload, sizeOf(all)]));
  const faulted = new Map<string, number>();
  for (const { isFaulted, candidates, most } of selections) {
    if (!isFaulted) continue;
    for (const [workload, all] of Map.groupBy(candidates, workloadOf))
      faulted.set(workload, Math.min(sizes.get(workload) ?? 0, (faulted.get(workload) ?? 0) + Math.min(all.length, most)));
  }
  return [...faulted]
    .map(([workload, most]) => ({ workload, size: sizes.get(workload) ?? most, most }))
    .filter(({ most }) => most > 0)
    .toSorted(
      (one, other) => other.most / other.size - one.most / one.size || other.most - one.most || (one.workload < other.workload ? -1 : 1),
    );
}

function findTooSmall(shares: readonly WorkloadShare[], policies: readonly Policy[], labelsOf: Around["labelsOf"]): readonly string[] {
  const isTooSmall = (policy: Policy): boolean =>
    shares.some(({ workload, size, most }) => {
      const namespace = workload.slice(0, workload.indexOf("/"));
      const [concerned] = policiesFor([policy], [namespace], labelsOf);
      return concerned !== undefined && whyOverBudget([concerned], { workload, size, inUse: 0, wanted: most }) !== undefined;
    });
  return policies.filter(isTooSmall).map(({ name }) => name);
}

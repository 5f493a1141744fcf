import type { OptIn } from "../api/opt-in.ts";
import { workloadOf } from "../api/policy/budget.ts";
import {
  containersOf,
  drawTargets,
  isLateJoiner,
  matchPods,
  podId,
  type SelectableNode,
  type Skip,
  whyNever,
  whySkipped,
} from "../api/selection.ts";
import type { ContainerRecord, SkippedTarget } from "../api/status.ts";
import type { Pod } from "../kube/resources.ts";
import type { Passport } from "../proto/gen/agent.ts";
import { type Problem, describeSkips } from "./conditions.ts";
import { listWords } from "../api/text.ts";
import { nodeAgent } from "../common/names.ts";
import { explainNoDaemon } from "./agents/whose.ts";
import type { BoundSelector } from "./kinds/translator.ts";
import { isTooLarge } from "./fit.ts";
import { whyNotJoined } from "./late-join.ts";
import { isTargetGone } from "./records.ts";

/** Whatever selection looks at, as it is at the moment of the visit. */
export interface Surroundings {
  readonly pods: readonly Pod[];
  readonly nodes: readonly SelectableNode[];
  readonly optInOf: (namespace: string) => OptIn;
  /** What an agent said of its surroundings; undefined where it did not. */
  readonly passportOf: (agent: string) => Passport | undefined;
  readonly hasDaemon: (node: string) => boolean;
  /** Why policies keep a pod from being faulted. */
  readonly protects: (pod: Pod) => Skip | undefined;
  /** Why these are too many pods to be faulted at the same time. */
  readonly whyOverBudget: (pods: readonly Pod[]) => string | undefined;
}

export interface Picked {
  readonly records: readonly ContainerRecord[];
  readonly skipped: readonly SkippedTarget[];
}

/** More would only make the status large. */
const MOST_SKIPPED = 100;

/** Picks the targets of all selectors; the problem when any of them picks none. */
export function pickTargets(
  selectors: readonly BoundSelector[],
  around: Surroundings,
  randomBelow: (bound: number) => number,
): { readonly pick: Picked; readonly problem: Problem | undefined } {
  const sides = selectors.map((selector) => {
    const { block } = selector;
    const judged = matchPods(block.selector, around.pods, around.nodes).map((pod) => ({
      pod,
      skip: whySkipped(pod, selector, around.optInOf) ?? whyNotFaulted(selector, pod, around),
    }));
    const skipped = judged.flatMap(({ pod, skip }) => (skip === undefined ? [] : [{ id: podId(pod), ...skip }]));
    const eligible = judged.flatMap(({ pod, skip }) => (skip === undefined ? [pod] : []));
    const drawn = drawTargets(eligible, block, randomBelow);
    return { selector, skipped, drawn, records: drawn.flatMap((pod) => newRecords(pod, selector)), matched: judged.length };
  });
  const skipped = uniqueById(sides.flatMap((side) => side.skipped)).slice(0, MOST_SKIPPED);
  const empty = sides.find(({ records }) => records.length === 0);
  const records = sides.flatMap((side) => side.records);
  if (isTooLarge(records))
    return { pick: { records: [], skipped }, problem: { reason: "TooManyTargets", message: explainMany(records.length) } };
  if (empty === undefined) {
    const over = around.whyOverBudget(sides.filter(({ selector }) => isFaulted(selector)).flatMap(({ drawn }) => drawn));
    if (over === undefined) return { pick: { records, skipped }, problem: undefined };
    return { pick: { records: [], skipped }, problem: { reason: "BudgetExceeded", message: over } };
  }
  return { pick: { records: [], skipped }, problem: { reason: "NoTargets", message: explainEmpty(empty) } };
}

/** Whether pods of this selector are faulted, and not only the other side of a fault. */
export const isFaulted = ({ need }: BoundSelector): boolean => need !== "address";

function whyNotFaulted(selector: BoundSelector, pod: Pod, around: Surroundings): Skip | undefined {
  const { passportOf, hasDaemon, protects } = around;
  const protection = isFaulted(selector) ? protects(pod) : undefined;
  if (protection !== undefined) return protection;
  const { nodeName = "" } = pod.spec;
  // What the kernel of such a pod allows is found out by the daemon, when it gets the fault.
  if (selector.need === "network" && isLateJoiner(pod)) return whyNotJoined(pod, around);
  if (selector.need === "daemon" && !hasDaemon(nodeName)) return { reason: "NoDaemon", message: explainNoDaemon(nodeName) };
  const passport = passportOf(selector.need === "daemon" ? nodeAgent(nodeName) : pod.metadata.uid);
  return (passport && selector.whyUnable(passport)) ?? (selector.mustRun ? whyNotRunning(pod, selector.containers ?? []) : undefined);
}

/** What has no running container cannot be killed. */
function whyNotRunning(pod: Pod, names: readonly string[]): Skip | undefined {
  const meant = containersOf(pod, names);
  if (meant.some((name) => runningIdOf(pod, name) !== undefined)) return undefined;
  return {
    reason: "NotRunning",
    message: `${meant.length === 1 ? "Container" : "None of the containers"} ${listWords(meant)} of the pod is${meant.length === 1 ? " not" : ""} running now.`,
  };
}

/** The id of a container that runs, such as containerd://ID. */
function runningIdOf({ status }: Pod, container: string): string | undefined {
  const found = status.containerStatuses.find(({ name }) => name === container);
  return found?.state?.running === undefined || found.containerID === "" ? undefined : found.containerID;
}

const explainMany = (count: number): string =>
  `${count} pods are selected, and one object cannot hold the records of so many. Split the experiment in two, by namespaces or labels.`;

function explainEmpty(side: {
  readonly selector: BoundSelector;
  readonly skipped: readonly SkippedTarget[];
  readonly matched: number;
}): string {
  const { key, block } = side.selector;
  const where = key === "." ? "spec.selector" : "spec.target.selector";
  if (side.matched > side.skipped.length) return `${where}: mode ${block.mode} drew none of the pods this time; it is drawn again.`;
  if (side.matched > 0) return `${where}: no pod is selected. ${describeSkips(side.skipped)}`;
  const { selector } = block;
  const namespaces = selector.namespaces ?? [];
  if (Object.keys(selector.pods ?? {}).length > 0) return `${where}: no pod is selected. None of the pods that are named exists.`;
  const filters = Object.entries(selector.labelSelectors ?? {}).map(([label, value]) => `${label}=${value}`);
  const [namespace = ""] = namespaces;
  const hint = `Try: kubectl get pods -n ${namespace}${filters.length > 0 ? ` -l ${filters.join(",")}` : ""}`;
  const found =
    filters.length > 0
      ? `No pod in ${namespaces.join(", ")} has labels ${filters.join(",")}`
      : `No pod in ${namespaces.join(", ")} matches`;
  return `${where}: no pod is selected. ${found}. ${hint}`;
}

/**
 * Pods that came since, for experiments that follow: those of selectors of mode `all`, also while they still start, so that
 * they are faulted from their first packet. Records of pods that are gone leave.
 */
export function joinTargets(current: Picked, selectors: readonly BoundSelector[], around: Surroundings): Picked {
  const kept = current.records.filter((record) => !isTargetGone(record));
  const known = new Set(kept.map(({ selectorKey, targetUID }) => `${selectorKey} ${targetUID ?? ""}`));
  const joined: ContainerRecord[] = [];
  const byUid = new Map(around.pods.map((pod) => [pod.metadata.uid, pod]));
  const faulted = new Set(selectors.filter(isFaulted).map(({ key }) => key));
  const held = Map.groupBy(
    kept.flatMap(({ selectorKey, targetUID = "" }) => (faulted.has(selectorKey) ? (byUid.get(targetUID) ?? []) : [])),
    workloadOf,
  );
  const skipped: SkippedTarget[] = [];
  for (const selector of selectors) {
    const { key, block } = selector;
    if (block.mode !== "all") continue;
    for (const pod of matchPods(block.selector, around.pods, around.nodes)) {
      if (known.has(`${key} ${pod.metadata.uid}`)) continue;
      const workload = workloadOf(pod);
      const ofWorkload = [...(held.get(workload) ?? []), pod];
      const skip =
        whyNever(pod, selector, around.optInOf) ?? whyNotFaulted(selector, pod, around) ?? whyNoRoom(selector, ofWorkload, around);
      if (skip !== undefined && skip.reason !== "Finished" && skip.reason !== "Terminating") skipped.push({ id: podId(pod), ...skip });
      if (skip !== undefined || pod.spec.nodeName === undefined) continue;
      joined.push(...newRecords(pod, selector));
      if (isFaulted(selector)) held.set(workload, ofWorkload);
    }
  }
  // Two records of one id would be two answers to one question: an old one waits for its end first.
  const ids = new Set(kept.map(({ selectorKey, id }) => `${selectorKey} ${id}`));
  const fresh = joined.filter(({ selectorKey, id }) => !ids.has(`${selectorKey} ${id}`));
  if (kept.length + fresh.length === 0) return current;
  const isFull = isTooLarge([...kept, ...fresh]);
  const records = isFull ? current.records : [...kept, ...fresh];
  const leftOut = isFull ? fresh.map(({ id }): SkippedTarget => ({ id, ...noRecord })) : [];
  const judged = new Set([...records, ...leftOut].map(({ id }) => id));
  const present = new Set(around.pods.map((pod) => podId(pod)));
  const stillSkipped = current.skipped.filter(({ id }) => present.has(id) && !judged.has(id));
  return { records, skipped: uniqueById([...leftOut, ...stillSkipped, ...skipped]).slice(0, MOST_SKIPPED) };
}

const noRecord: Skip = {
  reason: "TooManyTargets",
  message: "One object cannot hold the records of more pods. Split the experiment in two, by namespaces or labels.",
};

function whyNoRoom(selector: BoundSelector, pods: readonly Pod[], { whyOverBudget }: Surroundings): Skip | undefined {
  const message = isFaulted(selector) ? whyOverBudget(pods) : undefined;
  return message === undefined ? undefined : { reason: "BudgetExceeded", message };
}

/** One for the pod, or one for each of its containers that is meant. */
function newRecords(pod: Pod, { key, containers, mustRun }: BoundSelector): readonly ContainerRecord[] {
  const plain = { selectorKey: key, phase: "Not Injected", injectedCount: 0, recoveredCount: 0, targetUID: pod.metadata.uid } as const;
  if (containers === undefined) return [{ id: podId(pod), ...plain }];
  return containersOf(pod, containers).flatMap((name): readonly ContainerRecord[] => {
    const record = { id: `${podId(pod)}/${name}`, ...plain };
    const containerID = runningIdOf(pod, name);
    if (!mustRun) return [record];
    return containerID === undefined ? [] : [{ ...record, containerID }];
  });
}

const uniqueById = (skipped: readonly SkippedTarget[]): readonly SkippedTarget[] => [
  ...new Map(skipped.map((skip) => [skip.id, skip])).values(),
];

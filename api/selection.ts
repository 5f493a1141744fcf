import { labels, OPTED_IN, SIDECAR_CONTAINER, annotations as names } from "../common/names.ts";
import type { OptIn } from "./opt-in.ts";
import { listWords } from "./text.ts";
import { type VolumeMount, whyNoVolume } from "./volume-mounts.ts";
import { parseModeValue, type SelectorBlock, type PodSelector } from "./blocks/selector.ts";

/** The part of a pod that selection reads. */
export interface SelectablePod {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string | undefined;
    readonly uid: string;
    readonly labels?: Readonly<Record<string, string>> | undefined;
    readonly annotations?: Readonly<Record<string, string>> | undefined;
    readonly deletionTimestamp?: string | undefined;
  };
  readonly spec: {
    readonly nodeName?: string | undefined;
    readonly hostNetwork?: boolean | undefined;
    readonly serviceAccountName?: string | undefined;
    readonly restartPolicy?: string | undefined;
    readonly schedulerName?: string | undefined;
    readonly containers: readonly { readonly name: string; readonly mounts?: readonly VolumeMount[] | undefined }[];
    readonly initContainers: readonly { readonly name: string }[];
  };
  readonly status: {
    readonly phase?: string | undefined;
    readonly podIP?: string | undefined;
    readonly podIPs: readonly { readonly ip: string }[];
    readonly nominatedNodeName?: string | undefined;
  };
}

/** The part of a node that selection reads. */
export interface SelectableNode {
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> | undefined };
}

/**
 * What a target must have: the API server's word (pod-kill), images that can be replaced and put back (pod-failure), a sidecar of ours, somebody in
 * its network namespace (a sidecar, or by late join the daemon of its node), a daemon of ours on its node (time, stress), or only an address (the
 * other side of a fault).
 */
export type TargetNeed = "api" | "images" | "sidecar" | "network" | "daemon" | "address";

export interface Skip {
  readonly reason: SkipReason;
  readonly message: string;
}

/** Why a pod that the selector matches is left out; each has its line in docs/reasons.md. */
export const skipReasons = [
  "NamespaceNotOptedIn",
  "NotInjected",
  "HostNetwork",
  "Finished",
  "Terminating",
  "NotRunning",
  "NoContainer",
  "NoVolume",
  "VolumeNotServed",
  "NoDaemon",
  "CannotCarry",
  "Protected",
  "BudgetExceeded",
  "TooManyTargets",
] as const;
export type SkipReason = (typeof skipReasons)[number];

/** NAMESPACE/NAME: the id of a record. */
export const podId = ({ metadata }: Pick<SelectablePod, "metadata">): string => `${metadata.namespace ?? ""}/${metadata.name}`;

export const hasSidecar = ({ spec }: Pick<SelectablePod, "spec">): boolean =>
  spec.initContainers.some(({ name }) => name === SIDECAR_CONTAINER);

/** Whether faults of its network are for the daemon of its node: it has no sidecar, and its network is its own. Whether they may be is `OptIn`. */
export const isLateJoiner = (pod: Pick<SelectablePod, "spec">): boolean => !hasSidecar(pod) && pod.spec.hostNetwork !== true;

/** Addresses of a pod, of both families where it has both; none before it is running. */
export function addressesOf({ status }: Pick<SelectablePod, "status">): readonly string[] {
  const found = status.podIPs.map(({ ip }) => ip);
  return found.length > 0 ? found : status.podIP === undefined || status.podIP === "" ? [] : [status.podIP];
}

/** The pods that the selector matches, sorted by id. */
export function matchPods<P extends SelectablePod>(
  selector: PodSelector,
  pods: readonly P[],
  nodes: readonly SelectableNode[],
): readonly P[] {
  const labelsOfNode = new Map(nodes.map(({ metadata }) => [metadata.name, metadata.labels ?? {}]));
  return pods
    .filter((pod) => matchesSelector(selector, pod, (node) => labelsOfNode.get(node)))
    .toSorted((one, other) => (podId(one) < podId(other) ? -1 : 1));
}

type NodeLabels = (node: string) => Readonly<Record<string, string>> | undefined;

/** Whether every requirement of the selector holds. `pods`, when given, is the only one that counts. */
function matchesSelector(selector: PodSelector, pod: SelectablePod, nodeLabels: NodeLabels): boolean {
  const { metadata, spec, status } = pod;
  const namespace = metadata.namespace ?? "";
  if (selector.pods && Object.keys(selector.pods).length > 0) {
    return Object.hasOwn(selector.pods, namespace) && (selector.pods[namespace]?.includes(metadata.name) ?? false);
  }
  if (!(selector.namespaces ?? []).includes(namespace)) return false;
  const has = (found: Readonly<Record<string, string>> | undefined, wanted: Readonly<Record<string, string>> = {}): boolean =>
    Object.entries(wanted).every(([key, value]) => found !== undefined && Object.hasOwn(found, key) && found[key] === value);
  const fields: Readonly<Record<string, string | undefined>> = {
    "metadata.name": metadata.name,
    "metadata.namespace": namespace,
    "spec.nodeName": spec.nodeName,
    "spec.restartPolicy": spec.restartPolicy,
    "spec.schedulerName": spec.schedulerName,
    "spec.serviceAccountName": spec.serviceAccountName,
    "status.phase": status.phase,
    "status.podIP": status.podIP,
    "status.nominatedNodeName": status.nominatedNodeName,
  };
  const phases = selector.podPhaseSelectors ?? [];
  const wantedPhases = phases.filter((phase) => !phase.startsWith("!"));
  const phase = status.phase ?? "Unknown";
  return (
    has(metadata.labels, selector.labelSelectors) &&
    (selector.expressionSelectors ?? []).every((expression) => matchesExpression(metadata.labels ?? {}, expression)) &&
    has(metadata.annotations, selector.annotationSelectors) &&
    Object.entries(selector.fieldSelectors ?? {}).every(([key, value]) => (fields[key] ?? "") === value) &&
    isOnNode(selector, spec.nodeName, nodeLabels, has) &&
    (wantedPhases.length === 0 || wantedPhases.includes(phase)) &&
    !phases.includes(`!${phase}`)
  );
}

/** One requirement of a selector on the labels that an object has. */
export function matchesExpression(
  found: Readonly<Record<string, string>>,
  { key, operator, values = [] }: { readonly key: string; readonly operator: string; readonly values?: readonly string[] | undefined },
): boolean {
  const value = Object.hasOwn(found, key) ? found[key] : undefined;
  if (operator === "Exists") return value !== undefined;
  if (operator === "DoesNotExist") return value === undefined;
  if (operator === "In") return value !== undefined && values.includes(value);
  // As Kubernetes has it, a pod without the label is not in the list either.
  return operator === "NotIn" && (value === undefined || !values.includes(value));
}

function isOnNode(
  { nodes = [], nodeSelectors = {} }: PodSelector,
  node: string | undefined,
  nodeLabels: NodeLabels,
  has: (found: Readonly<Record<string, string>> | undefined, wanted: Readonly<Record<string, string>>) => boolean,
): boolean {
  const byLabels = Object.keys(nodeSelectors).length > 0;
  if (nodes.length === 0 && !byLabels) return true;
  if (node === undefined) return false;
  return nodes.includes(node) || (byLabels && has(nodeLabels(node), nodeSelectors));
}

/** Whether it has ended for good; its containers never run again. */
export const isFinished = ({ status }: Pick<SelectablePod, "status">): boolean => status.phase === "Succeeded" || status.phase === "Failed";

/** What is asked of a pod: the part of a selection that the pod must answer for itself. */
export interface Wanted {
  readonly need: TargetNeed;
  readonly containers?: readonly string[] | undefined;
  readonly volumePath?: string | undefined;
}

/** The containers of a pod that are meant by these names, in the pod's order: regular ones, and the first where none is named. */
export function containersOf({ spec }: Pick<SelectablePod, "spec">, names: readonly string[]): readonly string[] {
  const all = spec.containers.map(({ name }) => name);
  return names.length === 0 ? all.slice(0, 1) : all.filter((name) => names.includes(name));
}

/** Why a pod cannot be a target now; undefined when it can. */
export function whySkipped(pod: SelectablePod, wanted: Wanted, optInOf: (namespace: string) => OptIn): Skip | undefined {
  const never = whyNever(pod, wanted, optInOf);
  const { need } = wanted;
  if (never !== undefined || need === "api") return never;
  if (need === "daemon" || need === "images")
    return pod.status.phase === "Running"
      ? undefined
      : { reason: "NotRunning", message: `The pod is not running yet (${pod.status.phase ?? "no phase"}).` };
  return addressesOf(pod).length === 0 ? { reason: "NotRunning", message: "The pod has no address yet." } : undefined;
}

/** The reasons that waiting does not mend. Nothing is done to a pod that is only the other side, so it need not have opted in. */
export function whyNever(
  pod: SelectablePod,
  { need, containers, volumePath }: Wanted,
  optInOf: (namespace: string) => OptIn,
): Skip | undefined {
  const { metadata, spec, status } = pod;
  const namespace = metadata.namespace ?? "";
  const optIn = optInOf(namespace);
  if (need !== "address" && optIn === "none") {
    return {
      reason: "NamespaceNotOptedIn",
      message: `The namespace did not opt in. Run: kubectl label namespace ${namespace} ${labels.inject}=${OPTED_IN}`,
    };
  }
  if (isFinished(pod)) return { reason: "Finished", message: `The pod has ended (${status.phase}).` };
  if (metadata.deletionTimestamp !== undefined) return { reason: "Terminating", message: "The pod is being deleted." };
  const irreplaceable = need === "images" ? whyIrreplaceable(pod) : undefined;
  if (irreplaceable !== undefined) return { reason: "CannotCarry", message: irreplaceable };
  if (containers !== undefined && containersOf(pod, containers).length === 0) {
    const message = `The pod has no container ${listWords(containers)}. It has ${listWords(spec.containers.map(({ name }) => name))}.`;
    return { reason: "NoContainer", message };
  }
  if ((need === "sidecar" || need === "network" || need === "address") && spec.hostNetwork === true) {
    return { reason: "HostNetwork", message: "The pod is on its node's network; a fault there would hit the node and everything on it." };
  }
  if (hasSidecar(pod)) return volumePath === undefined ? undefined : whyNoVolume(pod, containersOf(pod, containers ?? []), volumePath);
  if (need === "sidecar") return whyNotInjected(pod);
  if (need !== "network" || optIn === "late-join") return undefined;
  const wayOut = ` For pods that nobody can restart: kubectl label namespace ${namespace} ${labels.lateJoin}=${OPTED_IN}`;
  const skip = whyNotInjected(pod);
  return { ...skip, message: `${skip.message}${wayOut}` };
}

/** https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-config-mirror */
const MIRROR = "kubernetes.io/config.mirror";

function whyIrreplaceable({ metadata, spec }: SelectablePod): string | undefined {
  if (metadata.annotations?.[MIRROR] !== undefined) return "It is a static pod: its kubelet runs what stands in a file of its node.";
  const { restartPolicy = "Always" } = spec;
  return restartPolicy === "Always" ? undefined : explainPolicy(restartPolicy);
}

const explainPolicy = (policy: string): string =>
  `The pod has restartPolicy ${policy}: a container that ends on the way may have ended for good, and with it the pod. Pick a pod that starts its containers again (Always).`;

function whyNotInjected({ metadata }: SelectablePod): Skip {
  const recorded = metadata.annotations?.[names.injected];
  if (recorded !== undefined && /^[A-Z][A-Za-z]{1,40}$/.test(recorded)) {
    return {
      reason: "NotInjected",
      message: `The pod was left without a sidecar when it was made: ${recorded}. See docs/reasons.md, then make the pod anew.`,
    };
  }
  if (metadata.labels?.[labels.inject] !== OPTED_IN) {
    return {
      reason: "NotInjected",
      message: `The pod has no sidecar, as it does not have the label ${labels.inject}=${OPTED_IN}. Add it to the pod template and roll the workload out.`,
    };
  }
  return {
    reason: "NotInjected",
    message:
      "The pod has no sidecar: it was made before it or its namespace was labelled, or while no webhook answered. Roll its workload out once.",
  };
}

type Amount = Pick<SelectorBlock, "mode" | "value">;

/** Draws as many of the candidates as mode and value say, evenly and without putting back. `randomBelow` gives whole numbers from 0 up to its bound, the bound excluded. */
export function drawTargets<T>(candidates: readonly T[], amount: Amount, randomBelow: (bound: number) => number): readonly T[] {
  const count = countOf(candidates.length, amount, (most) => randomBelow(most + 1));
  return count === candidates.length ? candidates : draw(candidates, count, randomBelow);
}

/** How many of so many candidates `drawTargets` may draw: the fewest and the most. */
export const countDrawn = (candidates: number, amount: Amount): { readonly least: number; readonly most: number } => ({
  least: countOf(candidates, amount, () => 0),
  most: countOf(candidates, amount, (most) => most),
});

/** `percentUpTo` decides where mode leaves it to chance. */
function countOf(candidates: number, { mode, value }: Amount, percentUpTo: (most: number) => number): number {
  const number = parseModeValue({ mode, value }) ?? 0;
  const share = (percent: number): number => Math.ceil((candidates * percent) / 100);
  switch (mode) {
    case "all":
      return candidates;
    case "one":
      return Math.min(candidates, 1);
    case "fixed":
      return Math.min(candidates, number);
    case "fixed-percent":
      return share(number);
    case "random-max-percent":
      return share(percentUpTo(number));
  }
}

function draw<T>(candidates: readonly T[], count: number, randomBelow: (bound: number) => number): readonly T[] {
  const rest = [...candidates];
  const drawn: T[] = [];
  while (drawn.length < count) drawn.push(...rest.splice(randomBelow(rest.length), 1));
  return drawn;
}

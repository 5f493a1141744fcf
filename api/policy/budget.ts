import { isFinished, type SelectablePod } from "../selection.ts";
import type { Policy } from "./violations.ts";

/** What owns a pod: all pods of one owner are one workload, and a pod without an owner is one by itself. */
export interface OwnedPod {
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string | undefined;
    readonly labels?: Readonly<Record<string, string>> | undefined;
    readonly ownerReferences?: readonly OwnerReference[] | undefined;
  };
}

export interface OwnerReference {
  readonly kind: string;
  readonly name: string;
  readonly controller?: boolean | undefined;
}

/** "shop/Deployment/web". Of a ReplicaSet that a Deployment made it is the Deployment: old and new pods of a rollout are one workload. */
export function workloadOf({ metadata }: OwnedPod): string {
  const { namespace = "", name, labels = {}, ownerReferences = [] } = metadata;
  const owner = ownerReferences.find(({ controller }) => controller === true);
  if (owner === undefined) return `${namespace}/Pod/${name}`;
  const suffix = `-${labels["pod-template-hash"] ?? ""}`;
  const isOfDeployment = owner.kind === "ReplicaSet" && suffix !== "-" && owner.name.endsWith(suffix);
  return isOfDeployment ? `${namespace}/Deployment/${owner.name.slice(0, -suffix.length)}` : `${namespace}/${owner.kind}/${owner.name}`;
}

/** How many pods a workload has: those that have ended or are being deleted serve nobody. */
export const sizeOf = (pods: readonly Pick<SelectablePod, "metadata" | "status">[]): number =>
  pods.filter((pod) => pod.metadata.deletionTimestamp === undefined && !isFinished(pod)).length;

/** The state of one workload when targets are picked. */
export interface WorkloadUse {
  readonly workload: string;
  /** As `sizeOf` counts. */
  readonly size: number;
  /** Pods of it that other experiments fault now. */
  readonly inUse: number;
  /** Pods that would be faulted in all. */
  readonly wanted: number;
}

/** What forbids it, in words; undefined where every policy grants it. */
export function whyOverBudget(policies: readonly Policy[], { workload, size, inUse, wanted }: WorkloadUse): string | undefined {
  for (const { name, spec } of policies) {
    const { maxPods, maxPercent } = spec.budget ?? {};
    const found = `${workload} has ${size} pod${size === 1 ? "" : "s"}, ${inUse} of them faulted already, and ${wanted} would be`;
    if (maxPods !== undefined && wanted > maxPods) return `${found}; policy ${name} (spec.budget.maxPods) allows ${maxPods}.`;
    if (maxPercent === undefined) continue;
    const most = Math.floor((size * maxPercent) / 100);
    if (wanted > most) return `${found}; policy ${name} (spec.budget.maxPercent) allows ${maxPercent} %, which is ${most}.`;
  }
  return undefined;
}

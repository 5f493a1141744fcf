import type { FieldError } from "../field-error.ts";
import { isJsonObject } from "../json.ts";
import { show } from "../text.ts";

/**
 * What this version judges and cannot carry out: whole kinds, and actions of others. Nothing else lists them. A kind leaves the list when
 * it has a translator in `controller/kinds/`, which the compiler asks for then.
 */
export const notYetKinds = [
  "AWSChaos",
  "AzureChaos",
  "BlockChaos",
  "DNSChaos",
  "GCPChaos",
  "HTTPChaos",
  "JVMChaos",
  "KernelChaos",
  "PhysicalMachine",
  "PhysicalMachineChaos",
  "PodHttpChaos",
  "PodIOChaos",
  "PodNetworkChaos",
  "RemoteCluster",
  "Schedule",
  "StatusCheck",
  "Workflow",
  "WorkflowNode",
] as const satisfies readonly string[];
export type NotYetKind = (typeof notYetKinds)[number];

export const notYetActions: Readonly<Record<string, readonly string[]>> = {};

/** What of a spec cannot be carried out yet, by its kind, its action and the cluster it is to run in. */
export function findNotYet(kind: string, spec: unknown): readonly FieldError[] {
  const { action, remoteCluster } = isJsonObject(spec) ? spec : {};
  return [
    ...((notYetKinds as readonly string[]).includes(kind) ? [{ path: "kind", message: `${kind} cannot be carried out yet.` }] : []),
    ...(typeof action === "string" && notYetActions[kind]?.includes(action)
      ? [{ path: "spec.action", message: `${show(action)} cannot be carried out yet.` }]
      : []),
    ...(typeof remoteCluster === "string" && remoteCluster !== ""
      ? [{ path: "spec.remoteCluster", message: "Running in another cluster cannot be carried out yet. Apply the experiment there." }]
      : []),
  ];
}

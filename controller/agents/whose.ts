import type { z } from "zod";
import type { ExperimentKind } from "../../api/kinds/define-kind.ts";
import type { Actor } from "../../api/kinds/definition.ts";
import { type ExperimentName, experiments } from "../../api/kinds/experiments.ts";
import { hasSidecar, isLateJoiner } from "../../api/selection.ts";
import { nodeAgent } from "../../common/names.ts";
import type { Pod } from "../../kube/resources.ts";

/**
 * The agent that carries faults of this pod out: UID of the pod, or node/NAME. Undefined where there is none. Where a pod has no sidecar it is the
 * daemon, whether the namespace allows late join or not: that may have been withdrawn, and then the fault must be taken back there.
 */
export function agentOf(actor: Actor, pod: Pod): string | undefined {
  switch (actor) {
    case "controller":
      return undefined;
    case "sidecar":
      if (hasSidecar(pod)) return pod.metadata.uid;
      return isLateJoiner(pod) ? agentOf("daemon", pod) : undefined;
    case "daemon":
      return pod.spec.nodeName === undefined ? undefined : nodeAgent(pod.spec.nodeName);
  }
}

/** Who carries out what is on record of a spec that this version cannot read: faults of containers are the daemon's, but for some kinds. */
export function actorOfRecords(records: readonly { readonly id: string }[], kind: ExperimentName): Actor {
  const { hasContainersInSidecar = false }: ExperimentKind<z.ZodType> = experiments[kind];
  return !hasContainersInSidecar && records.some(({ id }) => id.split("/").length > 2) ? "daemon" : "sidecar";
}

export const explainNoDaemon = (node: string): string =>
  `No daemon of Squall runs on node ${node}. Try: kubectl get pods -n squall-system -l app=squall-daemon --field-selector spec.nodeName=${node}`;

import type { Kube } from "../kube/kube.ts";
import { deployments } from "../kube/resources.ts";

const RIVAL = "app.kubernetes.io/name=chaos-mesh,app.kubernetes.io/component=controller-manager";

/** Where a Chaos Mesh controller runs, why nothing is done beside it: two controllers would fight over the same objects. */
export async function findRival(kube: Kube, signal?: AbortSignal): Promise<string | undefined> {
  const { items } = await kube.list(deployments, { labelSelector: RIVAL }, signal);
  const running = items.find(({ spec }) => (spec.replicas ?? 1) > 0);
  if (!running) return undefined;
  const { namespace = "", name } = running.metadata;
  return `Chaos Mesh runs here (deployment ${namespace}/${name}) and would fight with Squall over the same experiments. Stop it: kubectl scale deployment -n ${namespace} ${name} --replicas=0`;
}

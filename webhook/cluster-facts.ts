import type { InjectionFacts } from "../api/injection.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { SYSTEM_NAMESPACE } from "../common/names.ts";
import type { KubeConnection } from "../kube/client.ts";
import { Limits } from "../kube/limits.ts";
import { Reflector } from "../kube/reflector.ts";
import { type DaemonSet, daemonSets, namespaces } from "../kube/resources.ts";

/** Name of the DaemonSet that brings the sidecar's image to every node. */
export const IMAGE_HOLDER = "squall-image";

export interface ClusterFacts {
  of(namespace: string): Pick<InjectionFacts, "isImageReady" | "kubernetesMinor" | "namespaceAnnotations">;
  /** Policies and halts. */
  readonly limits: Limits;
  /** Labels of a namespace; undefined for one that is not known. */
  labelsOf(namespace: string): Readonly<Record<string, string>> | undefined;
  close(): Promise<void>;
}

/** Keeps what the injector must know of the cluster at hand: nothing is asked during a review. */
export async function watchClusterFacts({
  kube,
  image,
  clock,
  log,
}: {
  readonly kube: KubeConnection;
  readonly image: string;
  readonly clock: Clock;
  readonly log: Log;
}): Promise<ClusterFacts> {
  // All of them: policies may cover one that has not opted in yet.
  const spaces = new Reflector({ kube, resource: namespaces, clock, log });
  const holders = new Reflector({
    kube,
    resource: daemonSets,
    scope: { namespace: SYSTEM_NAMESPACE, fieldSelector: `metadata.name=${IMAGE_HOLDER}` },
    clock,
    log,
  });
  const limits = new Limits({ kube, clock, log });
  const all = [spaces, holders, ...limits.reflectors];
  for (const reflector of all) reflector.start();
  const { minor } = await kube.serverVersion();
  await Promise.all(all.map((reflector) => reflector.synced()));
  return {
    of: (namespace) => ({
      isImageReady: isImageReady(holders.get(`${SYSTEM_NAMESPACE}/${IMAGE_HOLDER}`), image),
      kubernetesMinor: minor,
      namespaceAnnotations: spaces.get(namespace)?.metadata.annotations ?? {},
    }),
    limits,
    labelsOf: (namespace) => spaces.get(namespace)?.metadata.labels,
    async close() {
      await Promise.all(all.map((reflector) => reflector.close()));
    },
  };
}

/**
 * Whether at least half of the nodes surely hold the image of the DaemonSet as it is now. The status does not tell which of the ready
 * pods are updated; those that are not are all taken to be ready. Why half: docs/decisions/image-on-half-the-nodes.md.
 */
export function isImageReady(holder: DaemonSet | undefined, image: string): boolean {
  if (!holder) return false;
  const { metadata, spec, status } = holder;
  const holds = spec.template.spec.containers.some((container) => container.image === image);
  const isCurrent = (status.observedGeneration ?? 0) >= (metadata.generation ?? 0);
  const wanted = status.desiredNumberScheduled ?? 0;
  const updated = status.updatedNumberScheduled ?? 0;
  const sure = (status.numberReady ?? 0) - Math.max(0, wanted - updated);
  return holds && isCurrent && wanted > 0 && sure >= Math.ceil(wanted / 2);
}

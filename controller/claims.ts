import type { Log } from "../common/log.ts";
import { isKubeError } from "../kube/errors.ts";
import type { Kube } from "../kube/kube.ts";
import { type EnrollingPod, persistentVolumeClaims } from "../kube/resources.ts";

export interface ClaimsOptions {
  readonly kube: Kube;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** The claim of a volume, in the pod's namespace. */
interface ClaimRef {
  readonly name: string;
  /** Made by Kubernetes for this very pod. One of that name that is somebody else's is not the pod's. */
  readonly isOfPod: boolean;
}

/**
 * The names of the persistent volumes behind volumes of a pod, by the volume's name. Left out are volumes that the pod does not have or that are no claims,
 * and claims that are gone, bound to nothing or another pod's. Each claim is asked for once.
 */
export async function findPersistentVolumes(
  pod: EnrollingPod,
  volumes: readonly string[],
  options: ClaimsOptions,
): Promise<Record<string, string>> {
  const asked = pod.spec.volumes.flatMap((volume) => {
    const claim = volumes.includes(volume.name) ? claimOf(volume, pod.metadata.name) : undefined;
    return claim === undefined ? [] : [{ volume: volume.name, claim }];
  });
  const bound = new Map<string, Promise<string | undefined>>();
  const boundTo = ({ name, isOfPod }: ClaimRef): Promise<string | undefined> => {
    const key = `${name} ${isOfPod}`;
    const asking = bound.get(key) ?? readBound(pod, { name, isOfPod }, options);
    bound.set(key, asking);
    return asking;
  };
  const found = await Promise.all(asked.map(async ({ volume, claim }) => [volume, await boundTo(claim)] as const));
  return Object.fromEntries(found.flatMap(([volume, name]) => (name === undefined ? [] : [[volume, name]])));
}

/** See https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#persistentvolumeclaim-naming for the names of those that are made for a pod. */
function claimOf({ name, persistentVolumeClaim, ephemeral }: EnrollingPod["spec"]["volumes"][number], pod: string): ClaimRef | undefined {
  if (persistentVolumeClaim) return { name: persistentVolumeClaim.claimName, isOfPod: false };
  return ephemeral ? { name: `${pod}-${name}`, isOfPod: true } : undefined;
}

async function readBound(
  { metadata }: EnrollingPod,
  { name, isOfPod }: ClaimRef,
  { kube, log, signal }: ClaimsOptions,
): Promise<string | undefined> {
  const { namespace } = metadata;
  try {
    const claim = await kube.get(persistentVolumeClaims, { namespace, name }, signal);
    const isOthers = isOfPod && claim.metadata.ownerReferences?.some(({ uid }) => uid === metadata.uid) !== true;
    return isOthers || claim.spec.volumeName === "" ? undefined : claim.spec.volumeName;
  } catch (error) {
    if (isKubeError(error, "not-found")) return undefined;
    if (!isKubeError(error, "forbidden")) throw error;
    // Roles that are older than this: the sidecar is to enrol all the same, for every other fault.
    log.warn({ claim: `${namespace}/${name}`, err: error }, "the controller may not read claims; apply manifests/controller.yaml anew");
    return undefined;
  }
}

import * as z from "zod";
import { annotations, SIDECAR_CONTAINER } from "../../common/names.ts";
import type { Pod } from "../../kube/resources.ts";

/** Which pause image stands in a pod, in the place of what, and for whom: the annotation squall.dev/pod-failure, from its first holder to its last. */
export interface Claim {
  /** The images that were there, each once. A strategic merge patch of this alone is the way back, by hand, too. */
  readonly spec: { readonly containers: readonly NamedImage[]; readonly initContainers: readonly NamedImage[] };
  /** The image that took their place. */
  readonly pause: string;
  /** Ids of the containers that ran before, by name: one that still runs has not been replaced yet, unless it was a pause itself. */
  readonly ran: Readonly<Record<string, string>>;
  /** UIDs of experiments. */
  readonly holders: readonly string[];
}

export interface NamedImage {
  readonly name: string;
  readonly image: string;
}

const image = z.object({ name: z.string(), image: z.string() });
// In the order in which they are written: the policy in manifests/guarded.yaml compares texts.
const schema = z.object({
  spec: z.object({ containers: z.array(image), initContainers: z.array(image) }),
  pause: z.string(),
  ran: z.record(z.string(), z.string()),
  holders: z.array(z.string()),
});

/** The claim on a pod; undefined where there is none, "unreadable" where somebody else wrote into the annotation. */
export function readClaim({ metadata }: Pick<Pod, "metadata">): Claim | "unreadable" | undefined {
  const text = metadata.annotations?.[annotations.podFailure];
  if (text === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return "unreadable";
  }
}

export const renderClaim = ({ spec: { containers, initContainers }, pause, ran, holders }: Claim): string =>
  JSON.stringify({ spec: { containers, initContainers }, pause, ran, holders });

/** The first claim on a pod, by one holder. */
export function claimPod(pod: Pod, pause: string, holder: string): Claim {
  const ran = [...pod.status.containerStatuses, ...pod.status.initContainerStatuses].flatMap(
    ({ name, containerID = "", state }): readonly [string, string][] =>
      state?.running === undefined || containerID === "" || name === SIDECAR_CONTAINER ? [] : [[name, containerID]],
  );
  return { spec: imagesOf(pod), pause, ran: Object.fromEntries(ran), holders: [holder] };
}

/** Every image of a pod but that of our sidecar, in the pod's order. */
export function imagesOf({ spec }: Pick<Pod, "spec">): Claim["spec"] {
  const named = (all: Pod["spec"]["containers"]): readonly NamedImage[] =>
    all.flatMap(({ name, image: of }) => (of === undefined || name === SIDECAR_CONTAINER ? [] : [{ name, image: of }]));
  return { containers: named(spec.containers), initContainers: named(spec.initContainers) };
}

import { annotations } from "../../common/names.ts";
import type { Pod } from "../../kube/resources.ts";
import { recordReasons } from "../reasons.ts";
import { type Claim, claimPod, type NamedImage, readClaim, renderClaim } from "./claim.ts";
import { hasLeftovers, type Leaver, type Leftover, leftoversOf } from "./leftover.ts";

/** What a JSON patch (RFC 6902) of a pod does. */
export interface Operation {
  readonly op: "replace" | "add" | "remove";
  readonly path: string;
  readonly value?: unknown;
}

export type PodPlan =
  /** One patch, which conflicts if the pod is not the one that was looked at. */
  | { readonly is: "patch"; readonly operations: readonly Operation[] }
  /** It is so already. */
  | { readonly is: "done" }
  | { readonly is: "refused"; readonly reason: string; readonly message: string };

const CLAIM_PATH = annotationPath(annotations.podFailure);

/** Puts the pause image in the place of every image but our sidecar's, for this holder; for a second one only notes that it holds the pod, too. */
export function planHold(pod: Pod, holder: string, pauseImage: string): PodPlan {
  const claim = readClaim(pod);
  if (claim === "unreadable") return unreadable(pod);
  if (claim?.holders.includes(holder) === true) return { is: "done" };
  if (claim !== undefined) return patchOf(pod, [writeClaim(pod, { ...claim, holders: [...claim.holders, holder] })]);
  // The images that are there now are not what the pod should have again.
  if (hasLeftovers(pod)) return { is: "refused", reason: recordReasons.leftByChaosMesh, message: explainLeftovers(pod) };
  const fresh = claimPod(pod, pauseImage, holder);
  const none = pod.metadata.annotations === undefined ? [{ op: "add", path: "/metadata/annotations", value: {} } as const] : [];
  return patchOf(pod, [...none, writeClaim(pod, fresh), ...swaps(pod, fresh.spec, () => pauseImage)]);
}

/**
 * Takes holders off a pod; with the last of them every image is what it was, but for those that somebody else has set meanwhile. Where none of
 * them holds it, what Chaos Mesh left of an experiment is put right.
 */
export function planRelease(pod: Pod, isReleased: (holder: string) => boolean, leaver?: Leaver): PodPlan {
  const claim = readClaim(pod);
  if (claim === "unreadable") return unreadable(pod);
  if (claim?.holders.some(isReleased) === true) {
    const holders = claim.holders.filter((holder) => !isReleased(holder));
    if (holders.length > 0) return patchOf(pod, [writeClaim(pod, { ...claim, holders })]);
    return patchOf(pod, [
      ...swaps(pod, claim.spec, ({ image, now }) => (now === claim.pause ? image : undefined)),
      { op: "remove", path: CLAIM_PATH },
    ]);
  }
  const leftovers = leaver === undefined ? [] : leftoversOf(pod, leaver);
  return leftovers.length === 0 ? { is: "done" } : patchOf(pod, putRight(leftovers));
}

function putRight(leftovers: readonly Leftover[]): readonly Operation[] {
  return leftovers.flatMap(({ key, image, list, index }): readonly Operation[] => [
    { op: "replace", path: `/spec/${list}/${index}/image`, value: image },
    { op: "remove", path: annotationPath(key) },
  ]);
}

/** The images of a claim, each by the place of its container in the pod. */
function swaps(
  { spec }: Pod,
  claimed: Claim["spec"],
  imageFor: (one: NamedImage & { readonly now: string | undefined }) => string | undefined,
): readonly Operation[] {
  return (["containers", "initContainers"] as const).flatMap((list) =>
    spec[list].flatMap(({ name, image: now }, index): readonly Operation[] => {
      const one = claimed[list].find((other) => other.name === name);
      const image = one === undefined ? undefined : imageFor({ ...one, now });
      return image === undefined || image === now ? [] : [{ op: "replace", path: `/spec/${list}/${index}/image`, value: image }];
    }),
  );
}

const writeClaim = (pod: Pod, claim: Claim): Operation => ({
  op: pod.metadata.annotations?.[annotations.podFailure] === undefined ? "add" : "replace",
  path: CLAIM_PATH,
  value: renderClaim(claim),
});

const patchOf = ({ metadata }: Pod, operations: readonly Operation[]): PodPlan => ({
  is: "patch",
  operations: [{ op: "replace", path: "/metadata/resourceVersion", value: metadata.resourceVersion }, ...operations],
});

/** RFC 6901. */
function annotationPath(key: string): string {
  return `/metadata/annotations/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

function unreadable({ metadata: { namespace, name } }: Pod): PodPlan {
  const message = `The annotation ${annotations.podFailure} of pod ${namespace}/${name} was not written by Squall, so nobody knows which images belong into it. Set them and remove the annotation: kubectl set image, kubectl annotate pod ${name} -n ${namespace} ${annotations.podFailure}-`;
  return { is: "refused", reason: recordReasons.claimUnreadable, message };
}

const explainLeftovers = ({ metadata: { namespace, name } }: Pod): string =>
  `A pod-failure of Chaos Mesh left pod ${namespace}/${name} with its pause image. Delete that PodChaos, which puts the images back; where it is gone, set them and remove its annotations.`;

import type { Pod } from "../../kube/resources.ts";
import { listWords } from "../../api/text.ts";
import type { Evidence } from "../evidence.ts";
import { recordReasons } from "../reasons.ts";
import { imagesOf, readClaim } from "./claim.ts";
import { isImage } from "./is-image.ts";

export const holds = (pod: Pod, holder: string): boolean => {
  const claim = readClaim(pod);
  return claim !== undefined && claim !== "unreadable" && claim.holders.includes(holder);
};

/** What a pod says of a pod-failure of this holder: it is in force once the kubelet has ended what ran before. */
export function readHold(pod: Pod, holder: string): Evidence {
  const claim = readClaim(pod);
  if (claim === undefined || claim === "unreadable" || !claim.holders.includes(holder)) return { is: "pending" };
  const now = new Map(Object.values(imagesOf(pod)).flatMap((images) => images.map(({ name, image }) => [name, image])));
  const changed = Object.values(claim.spec)
    .flat()
    .filter(({ name }) => now.get(name) !== claim.pause)
    .map(({ name }) => name);
  if (changed.length > 0) return { is: "failed", reason: recordReasons.imageChanged, message: explainChanged(changed) };
  const statuses = [...pod.status.containerStatuses, ...pod.status.initContainerStatuses];
  // A pause that ran before stays: for a kubelet that was busy while the images were back for a moment, nothing has changed.
  const isOld = statuses.some(
    ({ name, containerID, state, ...running }) =>
      state?.running !== undefined && containerID !== undefined && claim.ran[name] === containerID && !isImage(running, claim.pause),
  );
  if (isOld) return { is: "pending" };
  const isReady = pod.status.conditions.some(({ type, status }) => type === "Ready" && status === "True");
  return { is: "held", remark: isReady ? { reason: recordReasons.stillReady, message: STILL_READY } : undefined };
}

const explainChanged = (names: readonly string[]): string =>
  `Somebody set another image for ${names.length === 1 ? "container" : "containers"} ${listWords(names)} meanwhile, so that the fault is not in force there. It is left alone.`;

const STILL_READY =
  "The pause image runs in every container, and the pod is Ready all the same: it has no readinessProbe that notices, or a command of its own that works in the pause image, too. Services still send it traffic. Give its containers a readinessProbe that asks the application.";

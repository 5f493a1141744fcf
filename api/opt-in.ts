import { labels, OPTED_IN, SYSTEM_NAMESPACE } from "../common/names.ts";

/** What a namespace allows to be done to its pods: nothing, faults by a sidecar, or also faults of pods that have none. */
export type OptIn = "none" | "sidecars" | "late-join";

/** Pods of these are faulted by a sidecar or not at all, whatever their labels say: a cluster does not come back without them. */
const NEVER_JOINED: readonly string[] = ["kube-system", SYSTEM_NAMESPACE];

/** Reads it from the namespace's labels; late join is a second consent, worth nothing without the first. */
export function optInOf(namespace: string, found: Readonly<Record<string, string>> | undefined): OptIn {
  if (found?.[labels.inject] !== OPTED_IN) return "none";
  return found[labels.lateJoin] === OPTED_IN && !NEVER_JOINED.includes(namespace) ? "late-join" : "sidecars";
}

import { assertNever } from "../../common/assert-never.ts";
import { isKubeError, isTransient } from "../../kube/errors.ts";
import type { Kube, ObjectRef } from "../../kube/kube.ts";
import { type Pod, pods } from "../../kube/resources.ts";
import type { PodPlan } from "./plan-change.ts";

/** What became of a pod: as the API server has it now. */
export type PodOutcome =
  | { readonly is: "changed"; readonly pod: Pod }
  /** Nothing had to be changed. */
  | { readonly is: "unchanged"; readonly pod: Pod }
  /** There is no pod of that UID any more. */
  | { readonly is: "gone" }
  | { readonly is: "refused"; readonly reason: string; readonly message: string }
  /** The API server refuses. */
  | { readonly is: "failed"; readonly message: string }
  /** Time may mend it. */
  | { readonly is: "retry" };

export interface PodToChange {
  readonly ref: ObjectRef;
  /** Whoever else has this name is left alone; undefined for a pod that is known by its name alone. */
  readonly uid: string | undefined;
  /** A copy that may be old: it saves a look if it is not. */
  readonly copy: Pod | undefined;
  readonly plan: (pod: Pod) => PodPlan;
}

export interface ChangePodDeps {
  readonly kube: Kube;
  readonly signal: AbortSignal;
  /** Throws when this process no longer leads. */
  readonly mustLead: () => void;
}

/** The kubelet writes the status of a pod that changes several times in a second. */
const MOST_CONFLICTS = 5;

/** Changes a pod by one patch, planned anew from a fresh look whenever somebody else was first. That nothing is to be done is believed of a fresh look alone. */
export async function changePod({ ref, uid, copy, plan }: PodToChange, { kube, signal, mustLead }: ChangePodDeps): Promise<PodOutcome> {
  try {
    let pod = copy;
    for (let conflicts = 0; conflicts < MOST_CONFLICTS; ) {
      const isFresh = pod === undefined;
      pod ??= await kube.get(pods, ref, signal);
      if (uid !== undefined && pod.metadata.uid !== uid) return { is: "gone" };
      const planned = plan(pod);
      switch (planned.is) {
        case "refused":
        case "done":
          if (isFresh) return planned.is === "done" ? { is: "unchanged", pod } : planned;
          break;
        case "patch":
          mustLead();
          try {
            return { is: "changed", pod: await kube.patch(pods, ref, planned.operations, { type: "json" }, signal) };
          } catch (error) {
            if (!isKubeError(error, "conflict")) throw error;
            conflicts += 1;
          }
          break;
        default:
          assertNever(planned);
      }
      pod = undefined;
    }
    return { is: "retry" };
  } catch (error) {
    if (isKubeError(error, "not-found")) return { is: "gone" };
    if (isTransient(error)) return { is: "retry" };
    if (isKubeError(error)) return { is: "failed", message: error.message };
    throw error;
  }
}

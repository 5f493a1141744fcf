import type { ContainerRecord } from "../../api/status.ts";
import { assertNever } from "../../common/assert-never.ts";
import type { Evidence } from "../evidence.ts";
import { recordReasons } from "../reasons.ts";
import { type ChangePodDeps, changePod, type PodOutcome } from "./change-pod.ts";
import type { PodChange } from "./move-holds.ts";
import { planHold, planRelease } from "./plan-change.ts";
import { readHold } from "./read-hold.ts";

export interface ChangePodsDeps extends ChangePodDeps {
  readonly pauseImage: string;
}

/** What the changed pods say of the fault, by record. */
export interface ChangedPods {
  readonly evidence: ReadonlyMap<ContainerRecord, Evidence>;
  /** Time may mend what could not be changed. */
  readonly mustRetry: boolean;
}

const CHANGES_AT_ONCE = 16;

/** Has pods held by an experiment, or not any more. */
export async function changePods(
  changes: readonly PodChange[],
  { uid, name }: { readonly uid: string; readonly name: string },
  deps: ChangePodsDeps,
): Promise<ChangedPods> {
  const evidence = new Map<ContainerRecord, Evidence>();
  let mustRetry = false;
  const changeOne = async ({ to, record, pod }: PodChange): Promise<void> => {
    const [namespace = "", podName = ""] = record.id.split("/");
    // Chaos Mesh does not write UIDs down.
    const leaver = { name, isSure: record.targetUID === undefined };
    const outcome = await changePod(
      {
        ref: { namespace, name: podName },
        uid: record.targetUID,
        copy: pod,
        plan: (found) => (to === "hold" ? planHold(found, uid, deps.pauseImage) : planRelease(found, (holder) => holder === uid, leaver)),
      },
      deps,
    );
    if (outcome.is === "retry" || outcome.is === "failed") mustRetry = true;
    evidence.set(record, evidenceOf(outcome, to, uid));
  };
  for (let start = 0; start < changes.length; start += CHANGES_AT_ONCE)
    await Promise.all(changes.slice(start, start + CHANGES_AT_ONCE).map(changeOne));
  return { evidence, mustRetry };
}

function evidenceOf(outcome: PodOutcome, to: PodChange["to"], holder: string): Evidence {
  switch (outcome.is) {
    case "changed":
    case "unchanged":
      return to === "hold" ? readHold(outcome.pod, holder) : { is: "absent" };
    case "gone":
    case "refused":
      return outcome;
    case "failed":
      return { is: "failed", reason: recordReasons.changeFailed, message: outcome.message };
    case "retry":
      return { is: "pending" };
    default:
      return assertNever(outcome);
  }
}

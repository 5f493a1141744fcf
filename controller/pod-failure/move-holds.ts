import { podId } from "../../api/selection.ts";
import type { ContainerRecord } from "../../api/status.ts";
import type { Pod } from "../../kube/resources.ts";
import type { MoveContext } from "../decide.ts";
import type { Evidence } from "../evidence.ts";
import type { BoundSpec } from "../kinds/translator.ts";
import type { Observed } from "../observe.ts";
import { isTargetGone, stepRecord } from "../records.ts";
import { leftoversOf } from "./leftover.ts";
import { holds, readHold } from "./read-hold.ts";

/** What is to be done to a pod: to be held by the experiment, or not any more. */
export interface PodChange {
  readonly to: "hold" | "release";
  readonly record: ContainerRecord;
  /** The copy that was looked at; undefined where there is none. */
  readonly pod: Pod | undefined;
}

export interface MovedHolds {
  readonly records: readonly ContainerRecord[];
  /** Of records whose pod is not changed now. */
  readonly isUnderWay: boolean;
  readonly changes: readonly PodChange[];
}

/** Whether the fault stands in the pods' own objects, where the controller puts it. One whose spec cannot be read any more is known by what it left there. */
export function isHeldInPods(bound: BoundSpec | undefined, records: readonly ContainerRecord[], observed: Observed): boolean {
  if (bound !== undefined) return bound.actor === "controller";
  const { uid, name } = observed.experiment.metadata;
  return records.some((record) => {
    const pod = findTarget(record, observed);
    return (
      pod !== undefined &&
      pod !== "gone" &&
      (holds(pod, uid) || leftoversOf(pod, { name, isSure: record.targetUID === undefined }).length > 0)
    );
  });
}

/**
 * Moves the records of a fault that stands in the pods' own objects, and says what is to be changed there. What is not on record is not
 * done; that a pod is not held any more is not believed of a copy, so that the change, which has nothing to do then, finds it out.
 */
export function moveHolds(before: readonly ContainerRecord[], observed: Observed, { phase: { desired }, lease }: MoveContext): MovedHolds {
  const { uid } = observed.experiment.metadata;
  const steps = before.map((record) => {
    const pod = findTarget(record, observed);
    // Sent in this visit, once it is on record.
    const isNew = record.phase === "Not Injected";
    const evidence: Evidence =
      pod === "gone" ? { is: "gone" } : pod === undefined || isNew || desired === "Stop" ? { is: "pending" } : readHold(pod, uid);
    const step = stepRecord(record, evidence, { desired, now: observed.now, leaseMs: lease.ms, unmatchedServices: [] });
    if (pod === "gone" || isTargetGone(record)) return { ...step, change: undefined };
    const to = changeOf(record, pod, { desired, uid });
    return { ...step, change: to && { to, record: step.record, pod } };
  });
  return {
    records: steps.map(({ record }) => record),
    isUnderWay: steps.some(({ isUnderWay, change }) => isUnderWay && change === undefined),
    changes: steps.flatMap(({ change }) => change ?? []),
  };
}

function changeOf(
  { phase, targetUID }: ContainerRecord,
  pod: Pod | undefined,
  { desired, uid }: { readonly desired: "Run" | "Stop"; readonly uid: string },
): PodChange["to"] | undefined {
  if (desired === "Stop") return phase === "Not Injected" ? undefined : "release";
  // Chaos Mesh does not write UIDs down: what it began is only taken back.
  if (pod === undefined || targetUID === undefined || holds(pod, uid)) return undefined;
  // An init container that started from the pause image would keep the pod from starting for good, with its own image back, too.
  return pod.status.phase === "Running" ? "hold" : undefined;
}

function findTarget({ targetUID, id }: ContainerRecord, observed: Observed): Pod | "gone" | undefined {
  return targetUID === undefined ? observed.around.pods.find((pod) => podId(pod) === id) : observed.findPod(targetUID);
}

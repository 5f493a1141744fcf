import { isDeepStrictEqual } from "node:util";
import type { ContainerRecord, ExperimentStatus } from "../api/status.ts";
import { planConditions } from "./conditions.ts";
import type { Decision } from "./decide.ts";
import { fitRecords, writtenRecords } from "./fit.ts";
import type { Observed } from "./observe.ts";
import { isPaused } from "./phase.ts";

/** The status as it should be, from what was decided and what came of it. */
export function planStatus(
  { experiment, now, halted }: Pick<Observed, "experiment" | "now" | "halted">,
  decision: Decision,
  records: readonly ContainerRecord[] | undefined,
): ExperimentStatus {
  const { skipped, problem, phase } = decision;
  const fitted = records && fitRecords(records);
  const conditions = planConditions({
    desired: phase.desired,
    isPaused: isPaused(experiment),
    records,
    omitted: fitted?.omitted ?? [],
    skipped,
    problem,
    before: experiment.status.conditions ?? [],
    now,
  });
  return {
    conditions: [...conditions],
    experiment: { desiredPhase: phase.desired, ...(fitted && { containerRecords: [...fitted.records] }) },
    // What was over before the halt was not stopped by it.
    ...(halted && (phase.cause === "Halted" || experiment.status.halted !== undefined) && { halted }),
    ...(skipped.length > 0 && { skipped: [...skipped] }),
    ...(experiment.status.instances && { instances: experiment.status.instances }),
  };
}

/** Not at all, only in what is counted (for the first time that anything matched), or in what is said. */
export type Difference = "same" | "counts" | "first counts" | "substance";

/** How two statuses differ. */
export function compareStatuses(before: ExperimentStatus, after: ExperimentStatus): Difference {
  if (isDeepStrictEqual(before, after)) return "same";
  if (!isDeepStrictEqual(withoutCounts(before), withoutCounts(after))) return "substance";
  return hasMatched(after) && !hasMatched(before) ? "first counts" : "counts";
}

const hasMatched = ({ experiment }: ExperimentStatus): boolean =>
  experiment.containerRecords?.some(({ receipts }) => receipts !== undefined && receipts.matched > 0) === true;

function withoutCounts(status: ExperimentStatus): unknown {
  const records = status.experiment.containerRecords?.map((record) => ({ ...record, receipts: undefined, interruptions: undefined }));
  return { ...status, experiment: { ...status.experiment, containerRecords: records } };
}

export interface WritePlan {
  readonly write: "now" | "later" | "not";
  /** For "later": how much later. */
  readonly waitMs?: number | undefined;
}

/** While targets are still moving, a write may wait this long for all of them. */
const COMPLETE_WITHIN_MS = 2_000;
/** And further ones come no more often than this: a status of ten thousand records is a megabyte. */
const progressEveryMs = (records: number): number => Math.max(5_000, records);
const COUNTS_EVERY_MS = 30_000;
/** Whoever has just made an experiment wants to know whether it matches anything. */
const FIRST_COUNTS_AFTER_MS = 3_000;

/** When to write a status: at once when it is complete, seldom while it is not, more seldom for counts alone, but for the first. All times monotonic. */
export function planWrite({
  difference,
  records,
  isUnderWay,
  nowMs,
  busySinceMs,
  lastWriteMs,
}: {
  readonly difference: Difference;
  /** How many there are. */
  readonly records: number;
  readonly isUnderWay: boolean;
  readonly nowMs: number;
  readonly busySinceMs: number;
  readonly lastWriteMs: number | undefined;
}): WritePlan {
  if (difference === "same") return { write: "not" };
  if (difference === "substance" && !isUnderWay) return { write: "now" };
  const sinceMs = lastWriteMs ?? busySinceMs;
  const dueMs =
    difference !== "substance"
      ? sinceMs + (difference === "counts" ? COUNTS_EVERY_MS : FIRST_COUNTS_AFTER_MS)
      : Math.max(
          busySinceMs + COMPLETE_WITHIN_MS,
          (lastWriteMs ?? Number.NEGATIVE_INFINITY) + (isFirst(busySinceMs, lastWriteMs) ? 0 : progressEveryMs(records)),
        );
  return nowMs >= dueMs ? { write: "now" } : { write: "later", waitMs: dueMs - nowMs };
}

/** Whether nothing was written since the change began. */
const isFirst = (busySinceMs: number, lastWriteMs: number | undefined): boolean => lastWriteMs === undefined || lastWriteMs <= busySinceMs;

/** As a merge patch: what is absent is taken out, and a version in between makes it a conflict. */
export function statusPatch(resourceVersion: string, status: ExperimentStatus): object {
  const { containerRecords } = status.experiment;
  return {
    metadata: { resourceVersion },
    status: {
      conditions: status.conditions ?? null,
      experiment: { ...status.experiment, ...(containerRecords && { containerRecords: writtenRecords(containerRecords) }) },
      halted: status.halted ?? null,
      skipped: status.skipped ?? null,
    },
  };
}

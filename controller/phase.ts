import { annotations, DEFAULT_LEASE_MS } from "../common/names.ts";
import { parseDurationMs } from "../common/duration.ts";
import type { Memory } from "./memory.ts";
import type { Experiment } from "../kube/experiments.ts";

/** Whether an experiment should run now, and why. */
export interface Phase {
  readonly desired: "Run" | "Stop";
  /** Reason of the event that a change to this phase is reported with. */
  readonly cause: "Started" | "Deleted" | "TimeUp" | "Paused" | "Halted" | "Uninstalled" | "Unable";
  /** Monotonic end; undefined without a duration. */
  readonly deadlineMs: number | undefined;
}

/**
 * First match wins:
 *
 * | found                          | desired | cause   |
 * | ------------------------------ | ------- | ------- |
 * | being deleted                  | Stop    | Deleted |
 * | cannot be carried out          | Stop    | Unable  |
 * | one-shot                       | Run     | Started |
 * | duration over since creation   | Stop    | TimeUp  |
 * | pause annotation is "true"     | Stop    | Paused  |
 * | otherwise                      | Run     | Started |
 */
export function decidePhase(
  { metadata }: Pick<Experiment, "metadata">,
  spec: { readonly isOneShot: boolean; readonly duration: string | undefined } | undefined,
  { nowMs, memory: { bornMs } }: { readonly nowMs: number; readonly memory: Pick<Memory, "bornMs"> },
): Phase {
  const deadlineMs = spec === undefined || spec.isOneShot ? undefined : deadlineOf(bornMs, spec.duration);
  if (metadata.deletionTimestamp !== undefined) return { desired: "Stop", cause: "Deleted", deadlineMs };
  if (spec === undefined) return { desired: "Stop", cause: "Unable", deadlineMs };
  if (spec.isOneShot) return { desired: "Run", cause: "Started", deadlineMs };
  if (deadlineMs !== undefined && nowMs >= deadlineMs) return { desired: "Stop", cause: "TimeUp", deadlineMs };
  if (isPaused({ metadata })) return { desired: "Stop", cause: "Paused", deadlineMs };
  return { desired: "Run", cause: "Started", deadlineMs };
}

export const isPaused = ({ metadata }: Pick<Experiment, "metadata">): boolean => metadata.annotations?.[annotations.pause] === "true";
export const isFollowing = ({ metadata }: Pick<Experiment, "metadata">): boolean => metadata.annotations?.[annotations.follow] === "true";
export const isForced = ({ metadata }: Pick<Experiment, "metadata">): boolean =>
  metadata.annotations?.[annotations.cleanFinalizer] === "forced";

/** Chaos Mesh counts from the creation, and takes an empty duration for none. */
function deadlineOf(bornMs: number, duration: string | undefined): number | undefined {
  const durationMs = parseDurationMs(duration ?? "");
  return durationMs === undefined ? undefined : bornMs + durationMs;
}

export interface Lease {
  readonly ms: number;
  /** What is wrong with the annotation; the default holds then. */
  readonly problem: string | undefined;
}

/** Below this, a heartbeat that is late by a scheduling delay lifts the fault. */
const SHORTEST_LEASE_MS = 1_000;
/** What agents accept. */
const LONGEST_LEASE_MS = 24 * 3_600_000;

export function leaseOf({ metadata }: Pick<Experiment, "metadata">): Lease {
  const text = metadata.annotations?.[annotations.lease];
  if (text === undefined) return { ms: DEFAULT_LEASE_MS, problem: undefined };
  const ms = parseDurationMs(text);
  if (ms !== undefined && ms >= SHORTEST_LEASE_MS && ms <= LONGEST_LEASE_MS) return { ms: Math.round(ms), problem: undefined };
  const shown = JSON.stringify(text.slice(0, 60));
  return {
    ms: DEFAULT_LEASE_MS,
    problem: `annotation ${annotations.lease}: ${shown} is no duration from 1s to 24h; the lease is ${DEFAULT_LEASE_MS / 1000}s. Write one such as "5s".`,
  };
}

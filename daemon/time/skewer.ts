import { readdirSync } from "node:fs";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../common/clock.ts";
import { type ClockReader, createClockReader } from "./native-clocks.ts";
import { applyTable, type Outcome, readState, removePatch, silence } from "./patch-process.ts";
import { type FoundState, nameState } from "./patch-state.ts";
import { openPrecedence } from "./precedence.ts";
import { openPtrace } from "./ptrace.ts";
import { encodeTable, problemWithSkew, type Skew } from "./skew-table.ts";
import { createStopper, type Stopper } from "./stop-process.ts";
import { isGone, type Opened, openTarget, type ProcessIdentity, readIdentity, type TargetMemory } from "./target-process.ts";
import { readOwnVdso } from "./vdso-image.ts";
import { planPatch, type VdsoPatch } from "./vdso-patch.ts";

export type ProcessOutcome = ProcessIdentity & Outcome;

/**
 * Skews the clocks that running processes read through their vDSO. Children inherit what their parent has at fork(2), and are native after execve(2):
 * whoever wants a whole container skewed looks for new processes again and again. What asks the kernel itself, past the vDSO, sees native clocks.
 */
export interface Skewer {
  /**
   * Makes the processes have exactly this skew. A process is stopped for it once, for a few milliseconds; changes and renewals stop nobody.
   * One that was started anew under the same pid is gone, and is never written to.
   */
  apply(processes: readonly ProcessIdentity[], skew: Skew): Promise<readonly ProcessOutcome[]>;
  /** Makes their clocks native at once, and then their vDSOs what they were. Inert is what has to be tried again. */
  undo(processes: readonly ProcessIdentity[]): Promise<readonly ProcessOutcome[]>;
  /** All processes of this node whose vDSO is not pristine, whoever changed it. */
  find(): Promise<readonly FoundProcess[]>;
}

export interface FoundProcess extends ProcessIdentity {
  readonly state: Exclude<FoundState, "pristine">;
}

/** What a skewer does its work with. */
export interface SkewerParts {
  readonly patch: VdsoPatch;
  readonly open: (identity: ProcessIdentity) => Opened;
  readonly stopper: Stopper;
  readonly clocks: ClockReader;
}

/** Waits between tries to clean up: a thread that was inside when its time on the processor ended leaves as soon as it gets some again. */
const UNDO_PAUSES_MS = [1, 2, 4, 8, 16, 32, 64, 128] as const;

/** The machine's own. Throws where this machine's clocks cannot be skewed, with a sentence that says why. */
export function openSkewerParts(): SkewerParts {
  if (process.arch !== "x64") throw new Error(`Clocks cannot be skewed on ${process.arch} yet, only on x64.`);
  return {
    patch: planPatch(readOwnVdso()),
    open: openTarget,
    stopper: createStopper(openPtrace(), openPrecedence()),
    clocks: createClockReader(),
  };
}

/** See probe-skewer.ts for whether it works on this node. */
export function createSkewer({ patch, open, stopper, clocks }: SkewerParts): Skewer {
  function withMemory(identity: ProcessIdentity, act: (memory: TargetMemory) => Outcome): ProcessOutcome {
    const opened = open(identity);
    if (opened.is !== "open") return { ...identity, ...opened };
    try {
      return { ...identity, ...act(opened.memory) };
    } finally {
      opened.memory.close();
    }
  }

  /** One after the other: a stop takes its time, and others wait as well. */
  async function forEach(
    processes: readonly ProcessIdentity[],
    act: (memory: TargetMemory) => Outcome,
  ): Promise<readonly ProcessOutcome[]> {
    const outcomes: ProcessOutcome[] = [];
    for (const identity of processes) {
      outcomes.push(withMemory(identity, act));
      await setImmediate();
    }
    return outcomes;
  }

  return {
    async apply(processes, skew) {
      const problem = problemWithSkew(skew);
      if (problem !== undefined) return processes.map((identity) => ({ ...identity, is: "failed", reason: problem }));
      return forEach(processes, (memory) => {
        const leftNs = BigInt(Math.round((skew.untilMs - systemClock.monotonicMs()) * 1e6));
        return applyTable(memory, encodeTable(skew.offsetsNs, leftNs, clocks.read(memory.pid)), patch, stopper);
      });
    },
    async undo(processes) {
      await forEach(processes, (memory) => silence(memory, patch));
      const outcomes = new Map<ProcessIdentity, ProcessOutcome>();
      let left = processes;
      for (const pauseMs of UNDO_PAUSES_MS) {
        const removed = await forEach(left, (memory) => removePatch(memory, patch, stopper));
        for (const [index, identity] of left.entries()) {
          const outcome = removed[index];
          if (outcome) outcomes.set(identity, outcome);
        }
        left = left.filter((identity) => outcomes.get(identity)?.is === "inert");
        if (left.length === 0) break;
        await sleep(pauseMs);
      }
      return [...outcomes.values()];
    },
    async find() {
      const found: FoundProcess[] = [];
      for (const pid of readdirSync("/proc").map(Number)) {
        const identity = Number.isInteger(pid) && pid !== process.pid ? readIdentity(pid) : undefined;
        const state = identity && findState(identity);
        if (identity && state && state !== "pristine") found.push({ ...identity, state });
        await setImmediate();
      }
      return found;
    },
  };

  function findState(identity: ProcessIdentity): FoundState | undefined {
    const opened = open(identity);
    if (opened.is !== "open") return undefined; // no vDSO of ours, or no process
    try {
      return nameState(readState(opened.memory, patch));
    } catch (error) {
      if (isGone(error)) return undefined;
      throw error;
    } finally {
      opened.memory.close();
    }
  }
}

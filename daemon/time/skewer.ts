import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Clock } from "../../common/clock.ts";
import { createClockReader, type ReadClocks } from "./clocks.ts";
import { type Patch, planPatch } from "./patch.ts";
import { applyTable, type PatchState, removePatch, stateOfImage } from "./patching.ts";
import { ProcessMemory } from "./process-memory.ts";
import { FOR_EVER, isHoldable, type SkewEntry, type SkewTable } from "./skew-table.ts";
import { createStopping, type Stopping } from "./stopping.ts";
import { readOwnImage, VdsoError } from "./vdso-image.ts";

/** How far clocks are off, in nanoseconds by clock id (0 to 9, see clock_gettime(2)). Clocks that are not here are as they are. */
export interface Skew {
  readonly offsetsNs: ReadonlyMap<number, bigint>;
  /**
   * Monotonic milliseconds, as the clock that was given to the skewer counts them: from then on every clock is as it is, whoever is dead or frozen
   * by then. A second late at most. The clocks of processor time have no such end.
   */
  readonly untilMs: number;
}

export type SkewOutcome =
  | { readonly pid: number; readonly is: "skewed" }
  | { readonly pid: number; readonly is: "gone" }
  | { readonly pid: number; readonly is: "failed"; readonly reason: string };

export type UndoOutcome =
  | { readonly pid: number; readonly is: "clean" | "gone" }
  /** Its clocks are as they are; bytes that nobody runs are left until a thread is out of the way. */
  | { readonly pid: number; readonly is: "inert" }
  | { readonly pid: number; readonly is: "failed"; readonly reason: string };

/**
 * Shifts the clocks of running processes without a restart: `clock_gettime`, `gettimeofday` and `time` of their vDSO. The latter two follow
 * CLOCK_REALTIME. A fork inherits the shift; a new program does not, so whoever wants it shifted calls again. One call at a time.
 */
export interface Skewer {
  /** Why it cannot be done on this node; undefined where it can. */
  readonly missing: string | undefined;
  /** Makes these processes have exactly this skew. They stand still for a moment when they are patched first, and not when the skew changes. */
  apply(pids: readonly number[], skew: Skew): Promise<readonly SkewOutcome[]>;
  /** Their clocks are as they are at once; then every byte of ours is taken out. */
  undo(pids: readonly number[]): Promise<readonly UndoOutcome[]>;
  /** Processes that carry a patch of ours, whoever made it. */
  findPatched(): readonly number[];
  /** Why a clock cannot be this far off; undefined where it can. */
  problemWith(clockId: number, offsetNs: bigint): string | undefined;
  /** Lets processes go on that an earlier life stopped. */
  recover(): void;
}

/** Finds out on a child of its own whether processes can be patched here. `folder` must be there. */
export async function createSkewer({ folder, clock }: { readonly folder: string; readonly clock: Clock }): Promise<Skewer> {
  const stopping = createStopping({ folder, nowMs: () => performance.now() });
  stopping.recover();
  try {
    const patch = planPatch(readOwnImage());
    await tryOut(patch, stopping);
    return createWorkingSkewer({ patch, stopping, clock, readClocks: createClockReader() });
  } catch (error) {
    return createIdleSkewer(stopping, error instanceof Error ? error.message : String(error));
  }
}

/** Patches a child and takes it back. Throws with the reason when that cannot be done. */
async function tryOut(patch: Patch, stopping: Stopping): Promise<void> {
  const child = spawn(process.execPath, ["--version"], { stdio: "ignore", detached: false });
  const ended = once(child, "exit");
  const pid = child.pid;
  if (pid === undefined) throw new VdsoError("No process can be started to try it on.");
  try {
    process.kill(pid, "SIGSTOP");
    for (let turn = 0; turn < 100 && ProcessMemory.open(pid) === undefined; turn += 1) await sleep(1);
    const memory = ProcessMemory.open(pid);
    if (memory === undefined) throw new VdsoError("A child has no vDSO.");
    try {
      if (!memory.read().equals(patch.pristine)) throw new VdsoError("The vDSO of a child differs from the daemon's own.");
      applyTable(memory, patch, new Map([[0, { offsetNs: 1n, untilSeconds: FOR_EVER }]]), stopping);
      if (removePatch(memory, patch, stopping) !== "clean") throw new VdsoError("A child could not be made as it was.");
    } finally {
      memory.close();
    }
  } catch (error) {
    if (error instanceof VdsoError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new VdsoError(`The memory of other processes cannot be written (proc_mem.force_override, or a right is missing): ${message}.`);
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}

function createIdleSkewer(stopping: Stopping, missing: string): Skewer {
  return {
    missing,
    apply: (pids) => Promise.resolve(pids.map((pid) => ({ pid, is: "failed", reason: missing }))),
    undo: () => Promise.resolve([]),
    findPatched: () => [],
    problemWith: () => missing,
    recover: () => stopping.recover(),
  };
}

interface Working {
  readonly patch: Patch;
  readonly stopping: Stopping;
  readonly clock: Clock;
  readonly readClocks: ReadClocks;
}

function createWorkingSkewer({ patch, stopping, clock, readClocks }: Working): Skewer {
  /** Descriptors of processes that are patched: bound to one program, they tell when another has taken its place. */
  const open = new Map<number, ProcessMemory>();

  function memoryOf(pid: number): ProcessMemory | undefined {
    const known = open.get(pid);
    if (known?.isAlive === true) return known;
    forget(pid);
    const memory = ProcessMemory.open(pid);
    if (memory !== undefined) open.set(pid, memory);
    return memory;
  }

  function forget(pid: number): void {
    open.get(pid)?.close();
    open.delete(pid);
  }

  /** Each clock's end is told in its own time. */
  function tableOf({ offsetsNs, untilMs }: Skew): SkewTable {
    const leftSeconds = (untilMs - clock.monotonicMs()) / 1000;
    const now = readClocks();
    return new Map(
      [...offsetsNs].flatMap(([clockId, offsetNs]): readonly (readonly [number, SkewEntry])[] => {
        if (offsetNs === 0n) return [];
        const seconds = now.get(clockId);
        const untilSeconds = seconds === undefined ? FOR_EVER : BigInt(Math.ceil(seconds + leftSeconds));
        return [[clockId, { offsetNs, untilSeconds }]];
      }),
    );
  }

  async function eachOf<O>(pids: readonly number[], act: (pid: number) => O): Promise<readonly O[]> {
    const outcomes: O[] = [];
    for (const pid of pids) {
      outcomes.push(act(pid));
      // Whatever else waits in this process need not wait for all of them.
      await new Promise((resolve) => setImmediate(resolve));
    }
    return outcomes;
  }

  function applyTo(pid: number, table: SkewTable): SkewOutcome {
    try {
      const memory = memoryOf(pid);
      if (memory === undefined) return { pid, is: "gone" };
      applyTable(memory, patch, table, stopping);
      return { pid, is: "skewed" };
    } catch (error) {
      return isGone(pid) ? { pid, is: "gone" } : { pid, is: "failed", reason: error instanceof Error ? error.message : String(error) };
    }
  }

  function undoOf(pid: number): UndoOutcome {
    try {
      const memory = memoryOf(pid);
      const is = memory === undefined ? ("gone" as const) : removePatch(memory, patch, stopping);
      if (is !== "inert") forget(pid);
      return { pid, is };
    } catch (error) {
      if (isGone(pid)) return { pid, is: "gone" };
      return { pid, is: "failed", reason: error instanceof Error ? error.message : String(error) };
    }
  }

  function isGone(pid: number): boolean {
    const memory = open.get(pid);
    if (memory?.isAlive === true) return false;
    forget(pid);
    // Another program in its place is found by the next look.
    return memory !== undefined || !isThere(pid);
  }

  return {
    missing: undefined,
    async apply(pids, skew) {
      const table = tableOf(skew);
      for (const [pid, memory] of open) if (!memory.isAlive) forget(pid);
      return eachOf(pids, (pid) => applyTo(pid, table));
    },
    undo: (pids) => eachOf(pids, undoOf),
    findPatched: () => allPids().filter((pid) => isPatched(pid, patch)),
    problemWith(clockId, offsetNs) {
      if (!isHoldable(offsetNs)) return "It is off by more than 270 years.";
      const seconds = readClocks().get(clockId);
      if (seconds !== undefined && seconds + Number(offsetNs) / 1e9 < 0) return `It shows ${Math.floor(seconds)} s now and would be negative.`;
      return undefined;
    },
    recover: () => stopping.recover(),
  };
}

const isThere = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false; // it has ended: signals to any process are allowed here
  }
};

const allPids = (): readonly number[] => readdirSync("/proc").flatMap((name) => (/^[1-9]\d*$/.test(name) ? [Number(name)] : []));

function isPatched(pid: number, patch: Patch): boolean {
  let memory: ProcessMemory | undefined;
  try {
    memory = pid === process.pid ? undefined : ProcessMemory.open(pid);
    const state: PatchState = memory === undefined ? { is: "none" } : stateOfImage(memory.read(), patch);
    return state.is === "ours" || state.is === "partly" || state.is === "other version";
  } catch {
    return false; // a process that may not be read may not be written either
  } finally {
    memory?.close();
  }
}

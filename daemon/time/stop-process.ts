import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { TakePrecedence } from "./precedence.ts";
import type { Position, Ptrace } from "./ptrace.ts";

/** A process none of whose threads can run code of its own. */
export interface StoppedProcess {
  /** Where its threads are; undefined for one that sleeps inside the kernel and cannot be looked at. */
  readonly positions: readonly (Position | undefined)[];
}

export interface Stopper {
  /**
   * Stops a process for as long as `act` takes. `act` is not asynchronous, and neither is this: nothing else of us runs while somebody else stands
   * still. Throws StopError where the process cannot be stopped; it runs on then, as it does after `act` threw.
   */
  during<T>(pid: number, act: (stopped: StoppedProcess) => T): T;
}

/** Why a process cannot be stopped, in a sentence. */
export class StopError extends Error {
  override readonly name = "StopError";
}

/** Threads that do not get a processor in this time are those of a process that is throttled; it is tried again later. */
const LONGEST_STOP_MS = 1_000;
const PAUSE_MS = 0.1;
const LET_GO_EVERY_MS = 2;

/**
 * Stops by ptrace(2): unlike SIGSTOP it is not seen by the parent, does not run the handlers of SIGCONT, leaves a process that the user stopped
 * stopped, and is ended by the kernel when we are killed in the middle. One that a debugger holds cannot be stopped.
 */
export function createStopper(ptrace: Ptrace, takePrecedence: TakePrecedence): Stopper {
  /** Threads that were asleep in the kernel: they can be let go only once they have come out of it. */
  const lagging = new Set<number>();
  let letsGo: Promise<void> | undefined;

  async function letGoLagging(): Promise<void> {
    for (;;) {
      for (const thread of lagging) if (letGo(thread)) lagging.delete(thread);
      if (lagging.size === 0) return;
      await sleep(LET_GO_EVERY_MS, undefined, { ref: false });
    }
  }

  /** Whether the thread is on its own again, or no more. */
  function letGo(thread: number): boolean {
    const look = ptrace.look(thread);
    // A stopped one that cannot be let go was killed just now, and leaves an end behind that is ours to take note of.
    return look.is === "ended" || (look.is === "stopped" && ptrace.detach(thread, look.signal) === "done");
  }

  function release(threads: Iterable<number>): void {
    for (const thread of threads) {
      if (letGo(thread)) continue;
      ptrace.interrupt(thread); // only a stopped thread can be let go
      lagging.add(thread);
    }
    if (lagging.size > 0) letsGo ??= letGoLagging().finally(() => (letsGo = undefined));
  }

  return {
    during(pid, act) {
      const threads = new Set<number>();
      // The threads that still run must not delay the stop of all, nor those that run again the release of the others.
      const giveBack = takePrecedence();
      try {
        seizeAll(ptrace, pid, threads, lagging);
        return act({ positions: [...threads].map((thread) => ptrace.readPosition(thread)) });
      } finally {
        release(threads);
        giveBack();
      }
    },
  };
}

/** Adds all threads of a process to `threads`, and has them stopped, until no new one appears. */
function seizeAll(ptrace: Ptrace, pid: number, threads: Set<number>, ours: Set<number>): void {
  const endMs = performance.now() + LONGEST_STOP_MS;
  for (;;) {
    const fresh = readThreads(pid).filter((thread) => !threads.has(thread));
    if (fresh.length === 0) return;
    for (const thread of fresh) {
      const seized = ours.delete(thread) ? "done" : ptrace.seize(thread);
      if (seized === "done") threads.add(thread);
      else if (seized === "denied" && isAlive(pid, thread)) throw new StopError(explainDenied(pid));
    }
    for (const thread of fresh) if (threads.has(thread)) ptrace.interrupt(thread);
    awaitStops(
      ptrace,
      pid,
      fresh.filter((thread) => threads.has(thread)),
      endMs,
    );
  }
}

function awaitStops(ptrace: Ptrace, pid: number, threads: readonly number[], endMs: number): void {
  let running = threads;
  for (;;) {
    running = running.filter((thread) => ptrace.look(thread).is === "running");
    if (running.length === 0) return;
    if (performance.now() > endMs) {
      // A thread asleep in the kernel runs nothing of its own before it stops.
      if (running.every((thread) => stateOf(pid, thread) === "D")) return;
      throw new StopError(`${running.length} of its threads did not stop within ${LONGEST_STOP_MS} ms.`);
    }
    Atomics.wait(pause, 0, 0, PAUSE_MS);
  }
}

const pause = new Int32Array(new SharedArrayBuffer(4));

function readThreads(pid: number): readonly number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return []; // it ended
  }
}

/** A letter as in proc_pid_stat(5); undefined for a thread that is gone. */
function stateOf(pid: number, thread: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3);
  } catch {
    return undefined;
  }
}

/** A main thread that ended before the others stays as a zombie, which nobody can trace. */
const isAlive = (pid: number, thread: number): boolean => !["Z", "X", undefined].includes(stateOf(pid, thread));

function explainDenied(pid: number): string {
  const tracer = /^TracerPid:\s*([1-9]\d*)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];
  return tracer === undefined
    ? "ptrace(2) is not allowed on it. This process needs the capability SYS_PTRACE."
    : `Process ${tracer} traces it, as debuggers do. Detach that one.`;
}

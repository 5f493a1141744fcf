import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readStartTicksNow } from "../process.ts";

/** Stops the threads of a process for a moment, by SIGSTOP. */
export interface Stopping {
  /**
   * Does something while no thread of the process runs, and lets them go on. A process that was stopped before stays stopped. Throws when its
   * threads do not stop, and what `act` throws. Everything happens without a wait: the shorter the better.
   */
  whileStopped<T>(pid: number, act: () => T): T;
  /** Lets those go on that an earlier life stopped and could not let go on. */
  recover(): void;
}

/** One that waits for a disk takes longer, and is tried again. */
const LONGEST_WAIT_MS = 300;

/**
 * Which process is stopped is in a file before it is, for whoever comes next. The file need not outlive the kernel, and so is not forced to disk:
 * a SIGSTOP does not outlive it either.
 */
export function createStopping({ folder, nowMs }: { readonly folder: string; readonly nowMs: () => number }): Stopping {
  const noteFile = join(folder, "stopped");

  function letGo(pid: number): void {
    try {
      process.kill(pid, "SIGCONT");
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
    }
  }

  function waitUntilStopped(pid: number): void {
    const deadlineMs = nowMs() + LONGEST_WAIT_MS;
    let running = threadsOf(pid);
    for (;;) {
      running = running.filter((thread) => !isStandingStill(pid, thread));
      if (running.length === 0) {
        // One that was started while the others were looked at is stopped as they are, a moment later.
        running = threadsOf(pid).filter((thread) => !isStandingStill(pid, thread));
        if (running.length === 0) return;
      }
      if (nowMs() > deadlineMs) throw new Error(`${running.length} threads of process ${pid} did not stop within ${LONGEST_WAIT_MS} ms.`);
    }
  }

  return {
    whileStopped(pid, act) {
      const threads = threadsOf(pid);
      if (threads.length > 0 && threads.every((thread) => STOPPED.has(stateOf(pid, thread)))) return act();
      writeFileSync(noteFile, `${pid} ${readStartTicksNow(pid) ?? ""}\n`, { mode: 0o600 });
      try {
        process.kill(pid, "SIGSTOP");
        waitUntilStopped(pid);
        return act();
      } finally {
        letGo(pid);
        rmSync(noteFile, { force: true });
      }
    },
    recover() {
      let note: string;
      try {
        note = readFileSync(noteFile, "latin1");
      } catch {
        return; // nobody was stopped
      }
      const [pid = "", startTicks = ""] = note.trim().split(" ");
      if (/^[1-9]\d*$/.test(pid) && readStartTicksNow(Number(pid)) === startTicks) letGo(Number(pid));
      rmSync(noteFile, { force: true });
    },
  };
}

/** Stopped by a signal, or by a debugger. */
const STOPPED: ReadonlySet<string> = new Set(["T", "t"]);
const ENDED: ReadonlySet<string> = new Set(["Z", "X", ""]);

const isStandingStill = (pid: number, thread: string): boolean => {
  const state = stateOf(pid, thread);
  return STOPPED.has(state) || ENDED.has(state);
};

function threadsOf(pid: number): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return []; // it has ended
  }
}

/** One letter, see proc_pid_stat(5); empty for a thread that has ended. */
function stateOf(pid: number, thread: string): string {
  try {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, "latin1");
    return stat[stat.lastIndexOf(")") + 2] ?? "";
  } catch {
    return "";
  }
}

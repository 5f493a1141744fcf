import { readdir, readFile, readlink } from "node:fs/promises";
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stressPrograms } from "./launch.ts";

/** The variable in the environment of every process that we start for stress, and of what it starts. Its value names the stress. */
export const MARK = "SQUALL_STRESS";

/** A process of ours. */
export interface MarkedProcess {
  readonly pid: number;
  readonly parentPid: number;
  readonly mark: string;
  readonly program: string;
  /** Of itself and of children that ended, in clock ticks. */
  readonly cpuTicks: number;
}

const programNames: ReadonlySet<string> = new Set(Object.values(stressPrograms).map((path) => basename(path)));

/**
 * Processes with our mark that run one of our programs, of the given ones or of the whole node. A user's own stress-ng has no mark. Needs
 * CAP_SYS_PTRACE to look into processes of others.
 */
export async function listMarked(pids?: readonly number[]): Promise<readonly MarkedProcess[]> {
  const candidates = pids ?? (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  return (await Promise.all(candidates.map(readMarked))).filter((one) => one !== undefined);
}

async function readMarked(pid: number): Promise<MarkedProcess | undefined> {
  try {
    const mark = /(?:^|\0)SQUALL_STRESS=([^\0]*)/.exec(await readFile(`/proc/${pid}/environ`, "latin1"))?.[1];
    if (mark === undefined) return undefined;
    const program = basename((await readlink(`/proc/${pid}/exe`)).replace(/ \(deleted\)$/, ""));
    if (!programNames.has(program)) return undefined;
    const stat = await readFile(`/proc/${pid}/stat`, "latin1");
    // The name of the program, in parentheses, may hold anything. See proc_pid_stat(5).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const cpuTicks = fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0);
    return { pid, parentPid: Number(fields[1]), mark, program, cpuTicks };
  } catch {
    return undefined; // it has ended, or is a thread of the kernel
  }
}

const KILL_TIMEOUT_MS = 5000;

/**
 * Kills processes until `list` finds none, and resolves with how many there were. At once and without a SIGTERM before: all that they hold is
 * memory and processor time, which the kernel takes back by itself. Throws when some do not end, as in an uninterruptible sleep.
 */
export async function killAll(list: () => Promise<readonly MarkedProcess[]>): Promise<number> {
  const killed = new Set<number>();
  const endMs = performance.now() + KILL_TIMEOUT_MS;
  for (let found = await list(); found.length > 0; found = await list()) {
    if (performance.now() > endMs)
      throw new Error(
        `${found.length} processes of stress-ng do not end within ${KILL_TIMEOUT_MS / 1000} s: ${found.map(({ pid }) => pid).join(", ")}.`,
      );
    for (const { pid } of found) {
      killed.add(pid);
      try {
        process.kill(pid, "SIGKILL");
      } catch (error) {
        if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error; // ESRCH: it has ended meanwhile
      }
    }
    await sleep(10);
  }
  return killed.size;
}

/** Ends every process of ours on the node, whichever life of the daemon started it. Returns how many there were. */
export function sweepStress(): Promise<number> {
  return killAll(() => listMarked());
}

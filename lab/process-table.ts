import { readFile } from "node:fs/promises";
import { basename } from "node:path";

/** A process of this machine. */
export interface ProcessEntry {
  readonly pid: number;
  /** The file that it runs, without folders. */
  readonly program: string;
}

/** Whether that process lives; one that only waits for its parent to notice its end does not. */
export async function isAlive(pid: number): Promise<boolean> {
  const stat = await readStat(pid);
  return stat !== undefined && stat[0] !== "Z";
}

/** Process id and start time: an id alone is given to another process some day. */
export async function identify(pid: number): Promise<string> {
  return `${pid} ${(await readStat(pid))?.[19] ?? "dead"}`;
}

/** The processes of that list that live, with what they run. */
export async function describeProcesses(pids: readonly number[]): Promise<readonly ProcessEntry[]> {
  const entries = await Promise.all(
    pids.map(async (pid) => {
      const argv = (await readProc(pid, "cmdline"))?.split("\0") ?? [];
      return argv[0] === undefined || argv[0] === "" ? undefined : { pid, program: basename(argv[0]) };
    }),
  );
  return entries.filter((entry) => entry !== undefined);
}

/** Sends SIGKILL; a process that has ended already is fine. */
export function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (!hasCode(error, "ESRCH")) throw error;
  }
}

/** A system error's code, such as "ENOENT". */
export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

/** The fields of /proc/PID/stat after the name of the program: state, parent, … (proc_pid_stat(5), from field 3 on). */
async function readStat(pid: number): Promise<readonly string[] | undefined> {
  const text = await readProc(pid, "stat");
  return text?.slice(text.lastIndexOf(")") + 2).split(" ");
}

async function readProc(pid: number, file: string): Promise<string | undefined> {
  return await readFile(`/proc/${pid}/${file}`, "utf8").catch((error: unknown) => {
    if (hasCode(error, "ENOENT") || hasCode(error, "ESRCH")) return undefined;
    throw error;
  });
}

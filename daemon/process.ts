import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";

/** When a process was started, in clock ticks since boot: together with its pid it names one process for ever. Undefined for none. See proc_pid_stat(5). */
export async function readStartTicks(pid: number): Promise<string | undefined> {
  try {
    return startTicksIn(await readFile(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return undefined; // it has ended
  }
}

/** The same without a wait, for whoever must not let anything happen in between. */
export function readStartTicksNow(pid: number): string | undefined {
  try {
    return startTicksIn(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return undefined; // it has ended
  }
}

/** The name of the program, in parentheses, may hold anything. */
const startTicksIn = (stat: string): string | undefined => stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];

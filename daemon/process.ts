import { readFile } from "node:fs/promises";

/** When a process was started, in clock ticks since boot: together with its pid it names one process for ever. Undefined for none. See proc_pid_stat(5). */
export async function readStartTicks(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "latin1");
    // The name of the program, in parentheses, may hold anything.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined; // it has ended
  }
}

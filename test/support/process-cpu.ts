import { readFileSync } from "node:fs";

/** USER_HZ is 100 wherever Linux runs. */
const TICK_MS = 10;

/** Milliseconds of CPU that a process has used, all its threads and the programs that it ran and waited for; the kernel's work for them too. */
export function readCpuMs(pid: number): number {
  // The name of the program, which may hold spaces, ends with the last bracket. Then utime, stime, cutime and cstime; see proc_pid_stat(5).
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) * TICK_MS;
}

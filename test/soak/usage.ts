import { readdirSync, readFileSync } from "node:fs";
import { queryObjects } from "node:v8";

/** What a process holds, after a full garbage collection. */
export interface Usage {
  /** Of JavaScript objects that are still held. */
  readonly heapMb: number;
  readonly rssMb: number;
  readonly descriptors: number;
  /** Those too that keep no process alive. */
  readonly timers: number;
}

/** Of this process. Needs `--expose-gc` for figures that can be compared. */
export function readUsage(): Usage {
  const probe = setTimeout(() => undefined, 0);
  clearTimeout(probe);
  const timers = Number(queryObjects(probe.constructor)) - 1;
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  const toMb = (bytes: number): number => Math.round((10 * bytes) / 2 ** 20) / 10;
  return { heapMb: toMb(heapUsed), rssMb: toMb(rss), descriptors: readdirSync("/proc/self/fd").length, timers };
}

/** Milliseconds of CPU that a process has used, all its threads and the kernel's work for them; in steps of 10. */
export function readCpuMs(pid: number): number {
  // The name of the program, which may hold spaces, ends with the last bracket; see proc_pid_stat(5).
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

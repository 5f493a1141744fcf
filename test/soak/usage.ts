import { readdirSync, readFileSync } from "node:fs";
import { queryObjects } from "node:v8";

/** What a process holds, after a full garbage collection. */
export interface Usage {
  /** Of JavaScript objects that are still held. */
  readonly heapMb: number;
  readonly rssMb: number;
  readonly descriptors: number;
}

const toMb = (bytes: number): number => Math.round((10 * bytes) / 2 ** 20) / 10;

/** Of this process. Needs `--expose-gc` for figures that can be compared. */
export function readUsage(): Usage {
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  return { heapMb: toMb(heapUsed), rssMb: toMb(rss), descriptors: readdirSync("/proc/self/fd").length };
}

/** Timers of this process, those too that keep no process alive. Looks at the whole heap, during which nothing else is done: seconds where it is large. */
export function countTimers(): number {
  const probe = setTimeout(() => undefined, 0);
  clearTimeout(probe);
  return Number(queryObjects(probe.constructor)) - 1;
}

/** Resident memory of another process. */
export function readRssMb(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return toMb(1024 * Number(kilobytes));
}

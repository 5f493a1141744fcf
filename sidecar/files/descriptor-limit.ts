import { readFileSync } from "node:fs";

/** How many descriptors this process may have: RLIMIT_NOFILE, which Node has raised to its hard limit. */
export function readDescriptorLimit(): number {
  const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
  return Number(soft ?? 1024);
}

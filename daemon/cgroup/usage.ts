import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Cgroup, findController } from "./cgroup.ts";

/** What a group has used and may use; undefined where the kernel does not tell, or the group is gone. */
export interface Usage {
  /** Nanoseconds of processor time, of all its processes ever. */
  readonly cpuNs: bigint | undefined;
  readonly memoryBytes: number | undefined;
  /** How often the kernel killed a process of it because memory was short. */
  readonly oomKills: number | undefined;
}

export async function readUsage(cgroup: Cgroup): Promise<Usage> {
  const [cpuNs, memoryBytes, oomKills] = await Promise.all([readCpuNs(cgroup), readMemoryBytes(cgroup), readOomKills(cgroup)]);
  return { cpuNs, memoryBytes, oomKills };
}

async function readCpuNs(cgroup: Cgroup): Promise<bigint | undefined> {
  const place = findController(cgroup, "cpuacct");
  if (place?.version === 1) return bigOf(await read(place.folder, "cpuacct.usage"));
  const us = bigOf(fieldOf(await read(place?.folder, "cpu.stat"), "usage_usec"));
  return us === undefined ? undefined : us * 1000n;
}

async function readMemoryBytes(cgroup: Cgroup): Promise<number | undefined> {
  const place = findController(cgroup, "memory");
  return numberOf(await read(place?.folder, place?.version === 1 ? "memory.usage_in_bytes" : "memory.current"));
}

/** As in usage; in version 2, of the groups below as well. */
export async function readOomKills(cgroup: Cgroup): Promise<number | undefined> {
  const place = findController(cgroup, "memory");
  return numberOf(fieldOf(await read(place?.folder, place?.version === 1 ? "memory.oom_control" : "memory.events"), "oom_kill"));
}

/** The least memory limit of a group and those above it, in bytes; undefined for none. */
export async function readMemoryLimit(cgroup: Cgroup): Promise<number | undefined> {
  const place = findController(cgroup, "memory");
  if (place?.version === 1) return limitOf(fieldOf(await read(place.folder, "memory.stat"), "hierarchical_memory_limit"));
  let least: number | undefined;
  // What is above the mount has no such file, and neither has a group whose parent does not hand the controller down.
  for (let folder = place?.folder ?? "/"; folder !== "/"; folder = dirname(folder)) {
    const limit = limitOf(await read(folder, "memory.max"));
    if (limit !== undefined) least = Math.min(limit, least ?? limit);
  }
  return least;
}

/** Version 1 writes "none" as the largest number of whole pages, version 2 as "max". */
function limitOf(text: string | undefined): number | undefined {
  const bytes = numberOf(text);
  return bytes === undefined || bytes >= 2 ** 62 ? undefined : bytes;
}

async function read(folder: string | undefined, file: string): Promise<string | undefined> {
  if (folder === undefined) return undefined;
  try {
    return (await readFile(join(folder, file), "utf8")).trim();
  } catch {
    return undefined; // the group is gone, or its controller is not in use
  }
}

/** Reads a line `NAME NUMBER`. */
function fieldOf(text: string | undefined, name: string): string | undefined {
  return text
    ?.split("\n")
    .find((line) => line.startsWith(`${name} `))
    ?.slice(name.length + 1);
}

const numberOf = (text: string | undefined): number | undefined => (text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined);
const bigOf = (text: string | undefined): bigint | undefined => (text !== undefined && /^\d+$/.test(text) ? BigInt(text) : undefined);

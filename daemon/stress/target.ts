import { readFile, readlink } from "node:fs/promises";
import type { Cgroup } from "../cgroup/cgroup.ts";
import type { CgroupTree } from "../cgroup/cgroup-tree.ts";
import { readMemoryLimit } from "../cgroup/usage.ts";
import { readStartTicks } from "../process.ts";
import type { StressFacts } from "./plan.ts";

/** A container as it is now. */
export interface StressTarget {
  readonly pid: number;
  /** With the pid, the identity of its first process. */
  readonly startTicks: string;
  readonly cgroup: Cgroup;
  readonly entersUserNamespace: boolean;
  readonly oomScoreAdj: number;
  readonly facts: StressFacts;
}

/** Looks at the container whose first process that is. Throws when the process has ended, or CgroupError. */
export async function readTarget(pid: number, cgroups: CgroupTree): Promise<StressTarget> {
  const startTicks = await readStartTicks(pid);
  if (startTicks === undefined) throw new Error(`The container's first process ${pid} has ended.`);
  const [cgroup, userNamespace, ownUserNamespace, oomScoreAdj] = await Promise.all([
    cgroups.find(pid),
    readlink(`/proc/${pid}/ns/user`),
    readlink("/proc/self/ns/user"),
    readFile(`/proc/${pid}/oom_score_adj`, "utf8"),
  ]);
  return {
    pid,
    startTicks,
    cgroup,
    entersUserNamespace: userNamespace !== ownUserNamespace,
    oomScoreAdj: Number(oomScoreAdj),
    facts: await readFacts(pid, cgroup),
  };
}

async function readFacts(pid: number, cgroup: Cgroup): Promise<StressFacts> {
  const [memoryLimitBytes, memory, status] = await Promise.all([
    readMemoryLimit(cgroup),
    readFile("/proc/meminfo", "utf8"),
    readFile(`/proc/${pid}/status`, "utf8"),
  ]);
  const nodeMemoryBytes = kilobytesOf(memory, "MemTotal") * 1024;
  return {
    // One above all memory there is limits nothing.
    memoryLimitBytes: memoryLimitBytes !== undefined && memoryLimitBytes < nodeMemoryBytes ? memoryLimitBytes : undefined,
    nodeMemoryBytes,
    nodeAvailableBytes: kilobytesOf(memory, "MemAvailable") * 1024,
    processors: countListed(/^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "0"),
  };
}

const kilobytesOf = (text: string, name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(text)?.[1] ?? 0);

/** How many numbers a list such as "0-2,5" has. */
function countListed(list: string): number {
  return list.split(",").reduce((count, range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return count + last - first + 1;
  }, 0);
}

import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Cgroup } from "./cgroup.ts";
import { findController } from "./cgroup.ts";

/** Whether the process is in this very group. */
export async function hasMember(folder: string, pid: number): Promise<boolean> {
  return (await readMembers(folder)).includes(pid);
}

async function readMembers(folder: string): Promise<readonly number[]> {
  try {
    return (await readFile(join(folder, "cgroup.procs"), "utf8")).split("\n").filter(Boolean).map(Number);
  } catch {
    return []; // the group is gone, or is one of threads: those of its processes are listed above it
  }
}

/** Processes of a group and of those below it; none where the group is gone. They are read from the hierarchy that counts memory. */
export async function listMembers(cgroup: Cgroup): Promise<readonly number[]> {
  const folder = findController(cgroup, "memory")?.folder;
  return folder === undefined ? [] : [...new Set(await listBelow(folder))];
}

async function listBelow(folder: string): Promise<readonly number[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []); // gone meanwhile
  const below = entries.filter((entry) => entry.isDirectory()).map((entry) => listBelow(join(folder, entry.name)));
  return [...(await readMembers(folder)), ...(await Promise.all(below)).flat()];
}

/** Moves a process into the groups, one of each hierarchy. Throws where the kernel refuses one of them. */
export async function joinGroups(cgroup: Cgroup, pid: number): Promise<void> {
  for (const folder of new Set(cgroup.values())) {
    try {
      await writeFile(join(folder, "cgroup.procs"), `${pid}\n`);
    } catch (error) {
      throw new Error(`Process ${pid} cannot be put into ${folder}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
  }
}

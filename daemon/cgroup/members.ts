import { execFile } from "node:child_process";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Cgroup, findController } from "./cgroup.ts";

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
      await writeMember(join(folder, "cgroup.procs"), `${pid}\n`);
    } catch (error) {
      throw new Error(`Process ${pid} cannot be put into ${folder}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
  }
}

async function writeMember(file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
    await writeFromNode(file, text);
  }
}

/**
 * Where systemd mounts version 2, a process in a cgroup namespace moves nobody in or out of it (nsdelegate, see cgroups(7)), whatever else it may
 * do: the group is not there for it (ENOENT). So whoever writes comes from the node's namespace.
 */
function writeFromNode(file: string, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const parameters = ["--cgroup=/proc/1/ns/cgroup", "/usr/bin/tee", "--output-error=exit", file];
    const child = execFile(
      "/usr/bin/nsenter",
      parameters,
      { env: {}, timeout: 10_000, killSignal: "SIGKILL" },
      (error, _stdout, stderr) => {
        if (error === null) resolve();
        else reject(new Error(stderr.trim() || error.message, { cause: error }));
      },
    );
    child.stdin?.on("error", () => undefined); // it may end before it has read; its exit code tells why
    child.stdin?.end(text);
  });
}

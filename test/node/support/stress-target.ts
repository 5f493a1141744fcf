import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "../../../lab/run.ts";

const ROOT = "/sys/fs/cgroup";

/** A stand-in for a container: a process that is the first of its pid namespace, in groups of its own. */
export interface Target {
  readonly pid: number;
  /** Starts something of the user's in it. */
  spawn(argv: readonly [string, ...string[]]): ChildProcess;
  /** Folder of its group for a controller. */
  folder(controller: string): string;
  end(): void;
  close(): Promise<void>;
}

/** The cgroup file system; in a kernel that was just booted it is mounted first. */
export async function ensureCgroups(): Promise<{ readonly root: string; readonly version: 1 | 2 }> {
  if (!existsSync(join(ROOT, "cgroup.controllers")) && !existsSync(join(ROOT, "memory")))
    await run(["mount", "-t", "cgroup2", "-o", "nsdelegate", "cgroup2", ROOT]); // as systemd does
  const version = existsSync(join(ROOT, "cgroup.controllers")) ? 2 : 1;
  if (version === 2) await writeFile(join(ROOT, "cgroup.subtree_control"), "+cpu +memory +pids");
  return { root: ROOT, version };
}

export async function startTarget(
  name: string,
  { limitBytes, userNamespace = false }: { readonly limitBytes?: number; readonly userNamespace?: boolean } = {},
): Promise<Target> {
  const { version } = await ensureCgroups();
  const hierarchies = version === 2 ? ["."] : ["cpu", "cpuacct", "memory", "pids", "freezer"];
  // Two levels, as a pod and its container.
  const pods = hierarchies.map((hierarchy) => join(ROOT, hierarchy, `squall-test-${process.pid}-${name}`));
  const folders = pods.map((pod) => join(pod, "main"));
  for (const [index, folder] of folders.entries()) {
    await mkdir(folder, { recursive: true });
    const pod = pods[index] ?? "";
    if (version === 2) await writeFile(join(pod, "cgroup.subtree_control"), "+cpu +memory +pids");
  }
  const folderOf = (controller: string): string =>
    version === 2 ? (folders[0] ?? "") : (folders[hierarchies.indexOf(controller)] ?? controller);
  if (limitBytes !== undefined)
    await writeFile(join(folderOf("memory"), version === 2 ? "memory.max" : "memory.limit_in_bytes"), String(limitBytes));
  const outer = spawn("unshare", ["--pid", "--fork", "--kill-child", ...(userNamespace ? ["--user"] : []), "sleep", "1000"], {
    stdio: "ignore",
  });
  const pid = await childOf(outer.pid ?? 0);
  if (userNamespace) for (const map of ["uid_map", "gid_map"]) await writeFile(`/proc/${pid}/${map}`, "0 100000 65536");
  const moveIn = async (member: number): Promise<void> => {
    for (const folder of folders) await writeFile(join(folder, "cgroup.procs"), String(member));
  };
  await moveIn(pid);
  const started: ChildProcess[] = [];
  return {
    pid,
    spawn(argv) {
      const child = spawn("nsenter", [`--pid=/proc/${pid}/ns/pid`, ...argv], { stdio: "ignore" });
      started.push(child);
      return child;
    },
    folder: folderOf,
    end: () => process.kill(pid, "SIGKILL"),
    async close() {
      for (const child of [...started, outer]) child.kill("SIGKILL");
      for (const folder of [...folders, ...pods]) await removeGroup(folder);
    },
  };
}

async function childOf(parent: number): Promise<number> {
  for (let left = 500; left > 0; left -= 1) {
    const children = (await readFile(`/proc/${parent}/task/${parent}/children`, "utf8").catch(() => "")).trim();
    const child = Number(children.split(" ")[0]);
    if (child > 0 && (await readFile(`/proc/${child}/comm`, "utf8")).trim() === "sleep") return child;
    await sleep(10);
  }
  throw new Error("The target was not started.");
}

/** A group can go once the kernel has buried its processes. */
async function removeGroup(folder: string): Promise<void> {
  for (let left = 200; ; left -= 1) {
    try {
      await rmdir(folder);
      return;
    } catch (error) {
      if (left === 0) throw error;
      await sleep(10);
    }
  }
}

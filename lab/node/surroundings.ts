import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { exists } from "../files.ts";
import { run } from "../run.ts";
import type { IpFamily } from "./addresses.ts";
import { lab, type LabNode, ownFolders } from "./layout.ts";

const CGROUPS = "/sys/fs/cgroup";
const FORWARDING: Readonly<Record<IpFamily, string>> = {
  ipv4: "/proc/sys/net/ipv4/ip_forward",
  ipv6: "/proc/sys/net/ipv6/conf/all/forwarding",
};
const BRIDGE_FILTER: Readonly<Record<IpFamily, string>> = {
  ipv4: "/proc/sys/net/bridge/bridge-nf-call-iptables",
  ipv6: "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
};

/**
 * Makes a node's own mounts, cgroups and network settings; `folders` is where the content of its own folders is. For the first process of
 * fresh pid, mount, net, ipc and uts namespaces only, or of a kernel.
 */
export async function prepareSurroundings(
  node: LabNode,
  { folders, families }: { readonly folders: string; readonly families: readonly IpFamily[] },
): Promise<void> {
  await run(["mount", "--make-rshared", "/"]);
  // Sockets, locks and names of pod networks: all of them belong to this node.
  await run(["mount", "-t", "tmpfs", "-o", "mode=755", "squall-lab", "/run"]);
  for (const folder of ownFolders) {
    const own = join(folders, folder);
    await mkdir(own, { recursive: true });
    await mkdir(folder, { recursive: true });
    await run(["mount", "--bind", own, folder]);
  }
  await run(["hostname", node.name]);
  await run(["ip", "link", "set", "lo", "up"]);
  for (const family of families) await writeFile(FORWARDING[family], "1");
  await prepareBridgeFilter(families);
  await prepareCgroups();
}

/** A reply that stays on the bridge must pass iptables too, or a pod never sees answers from a Service. */
async function prepareBridgeFilter(families: readonly IpFamily[]): Promise<void> {
  // Where the module is built in or modules cannot be loaded, the file below tells whether all is well.
  await run(["modprobe", "br_netfilter"]).catch(() => undefined);
  try {
    for (const family of families) await writeFile(BRIDGE_FILTER[family], "1");
  } catch (error) {
    throw new Error("This kernel has no br_netfilter (module or built in), without which Services do not work.", { cause: error });
  }
}

/** Puts this process, and so all that it starts, into a cgroup of the lab beside the one that the kubelet gives to pods. */
async function prepareCgroups(): Promise<void> {
  const isUnified = await exists(join(CGROUPS, "cgroup.controllers"));
  for (const root of isUnified ? [CGROUPS] : await listHierarchies()) {
    const top = join(root, lab.cgroup);
    const own = join(top, "node");
    await mkdir(top, { recursive: true });
    if (isUnified) for (const folder of [root, top]) await enableControllers(folder);
    await mkdir(own, { recursive: true });
    if (await exists(join(root, "cpuset.cpus"))) {
      for (const folder of [top, own])
        for (const file of ["cpuset.cpus", "cpuset.mems"]) await copyFile(join(root, file), join(folder, file));
    }
    await writeFile(join(own, "cgroup.procs"), String(process.pid));
  }
}

/** Version 1: one folder for each set of controllers, beside links to them. */
async function listHierarchies(): Promise<readonly string[]> {
  const entries = await readdir(CGROUPS, { withFileTypes: true });
  const folders = entries.filter((entry) => entry.isDirectory()).map((entry) => join(CGROUPS, entry.name));
  const found = await Promise.all(folders.map(async (folder) => ((await exists(join(folder, "cgroup.procs"))) ? [folder] : [])));
  return found.flat();
}

async function enableControllers(folder: string): Promise<void> {
  const controllers = (await readFile(join(folder, "cgroup.controllers"), "utf8")).trim().split(/\s+/);
  // One at a time: a controller that may not be delegated must not take the others with it. The kubelet names the one it misses.
  for (const controller of controllers) {
    await writeFile(join(folder, "cgroup.subtree_control"), `+${controller}`).catch(() => undefined);
  }
}

async function copyFile(from: string, to: string): Promise<void> {
  await writeFile(to, await readFile(from));
}

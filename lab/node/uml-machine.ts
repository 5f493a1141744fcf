import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../run.ts";
import { clusterAddresses, type IpFamily } from "./addresses.ts";
import { type NodeLayout, nodes } from "./layout.ts";

/** Where the disk of the node is inside it: nothing else there can hold images, for overlayfs does not work upon files of the host. */
const DISK = "/dev/ubda";
const DEVICE = "eth0";

/**
 * Makes of a User-Mode Linux kernel, booted on this machine's own files, a machine that a node can be on. What is mounted here hides the
 * host's folders in this kernel only.
 */
export async function prepareUmlMachine({ folders }: Pick<NodeLayout, "folders">, families: readonly IpFamily[]): Promise<void> {
  await mkdir(folders, { recursive: true });
  await run(["mount", DISK, folders]);
  await mkdir("/dev/pts", { recursive: true });
  await run(["mount", "-t", "devpts", "-o", "ptmxmode=666", "devpts", "/dev/pts"]);
  await mkdir("/dev/shm", { recursive: true });
  await run(["mount", "-t", "tmpfs", "shm", "/dev/shm"]);
  await run(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"]);
  await tellClockSpeed(join(folders, "cpuinfo"));
  // All programs of this kernel shall call the iptables that works here.
  await run(["mount", "--bind", "/usr/sbin/xtables-legacy-multi", "/usr/sbin/xtables-nft-multi"]);
  await connect(families);
}

/** The kubelet refuses a processor whose clock it does not know. */
async function tellClockSpeed(file: string): Promise<void> {
  const lines = (await readFile("/proc/cpuinfo", "utf8")).trimEnd().split("\n");
  await writeFile(file, `${[...lines, "cpu MHz\t\t: 2000.000", "cpu cores\t: 1"].join("\n")}\n\n`);
  await run(["mount", "--bind", file, "/proc/cpuinfo"]);
}

async function connect(families: readonly IpFamily[]): Promise<void> {
  await run(["ip", "link", "set", DEVICE, "up"]);
  for (const family of families) {
    const { address, gateway } = nodes.uml[family];
    const options = family === "ipv6" ? ["nodad"] : [];
    await run(["ip", "address", "add", `${address}/${clusterAddresses[family].prefixLength}`, "dev", DEVICE, ...options]);
    await run(["ip", "route", "add", "default", "via", gateway]);
  }
}

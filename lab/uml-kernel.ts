import { mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Debian packages for a Linux kernel that runs as a process: User-Mode Linux, with netem and iptables-legacy. */
export const umlPackages = ["user-mode-linux", "kmod", "iptables", "ipset", "iproute2"] as const;

/** What a node on such a kernel takes besides: a disk. */
export const umlNodePackages = [...umlPackages, "e2fsprogs"] as const;

/** Modules that faults use; one that this kernel lacks or has built in is passed over. */
const FAULT_MODULES = [
  "veth",
  "sch_htb",
  "sch_netem",
  "sch_tbf",
  "ifb",
  "iptable_filter",
  "iptable_mangle",
  "iptable_nat",
  "ip6table_filter",
  "ip6table_mangle",
  "ip_set",
  "ip_set_hash_net",
  "ip_set_hash_netport",
  "ip_set_list_set",
  "xt_set",
  "xt_mark",
  "xt_owner",
  "xt_comment",
  "xt_multiport",
  "xt_CLASSIFY",
  "xt_NFQUEUE",
  "nfnetlink_queue",
  "xt_tcpudp",
  "fuse",
] as const;

/** Modules that a node of a cluster uses besides. */
export const nodeModules = [
  "ipv6",
  "overlay",
  "bridge",
  "br_netfilter",
  "nf_conntrack",
  "ip6table_nat",
  "xt_conntrack",
  "xt_MASQUERADE",
  "xt_addrtype",
  "xt_statistic",
  "xt_recent",
  "fuse",
] as const;

export interface UmlBoot {
  /** Where the script goes that is the kernel's first process, and who else keeps files of this kernel. */
  readonly folder: string;
  readonly memoryMb: number;
  /** Shell commands, after the first mounts are made and modules loaded; when they end, the kernel does. */
  readonly commands: readonly string[];
  readonly modules?: readonly string[];
  /** More parameters for the kernel, such as devices. */
  readonly parameters?: readonly string[];
}

/**
 * Prepares a User-Mode Linux kernel that runs on this machine's own files, as root, with its process ids, network and kernel state apart
 * from the machine's. Returns the command line that boots it. Needs root here and the packages above.
 */
export async function prepareUml({ folder, memoryMb, commands, modules = [], parameters = [] }: UmlBoot): Promise<readonly string[]> {
  await linkModules();
  const init = join(folder, "init");
  await writeFile(init, renderInit([...FAULT_MODULES, ...modules], commands), { mode: 0o755 });
  return [
    "linux.uml",
    `mem=${memoryMb}M`,
    "rootfstype=hostfs",
    "rootflags=/",
    "rw",
    `init=${init}`,
    `uml_dir=${folder}/`,
    "con=null",
    "con0=null",
    "ssl=null",
    "quiet",
    ...parameters,
  ];
}

/** A word of a command of that script. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Every word that is not ours is quoted: this is the one shell script that the lab writes. */
function renderInit(modules: readonly string[], commands: readonly string[]): string {
  return `#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/run
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mkdir -p /run/netns /dev/shm
ip link set lo up
for module in ${modules.join(" ")}; do modprobe "$module" 2>/dev/null; done
${commands.join("\n")}
sync
echo o > /proc/sysrq-trigger
sleep 5
`;
}

/** modprobe looks where the machine's own modules would be. */
async function linkModules(): Promise<void> {
  const home = "/usr/lib/uml/modules";
  await mkdir("/lib/modules", { recursive: true });
  for (const version of await readdir(home)) await symlink(join(home, version), join("/lib/modules", version)).catch(() => undefined); // there already
}

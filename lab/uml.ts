import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, symlink, mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CommandError } from "./run.ts";

/** Debian packages for a Linux kernel that runs as a process: User-Mode Linux, with netem and iptables-legacy. */
export const umlPackages = ["user-mode-linux", "kmod", "iptables", "ipset", "iproute2"] as const;

/** Modules that faults use; one that this kernel lacks or has built in is passed over. */
const MODULES = [
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
] as const;

export interface UmlResult {
  readonly exitCode: number;
  /** Standard output and standard error. */
  readonly output: string;
}

/**
 * Boots a User-Mode Linux kernel on this machine's own files and runs one program in it, as root, with its process ids, network and kernel
 * state apart from the machine's. Needs root here and the packages above. Throws CommandError when the kernel does not end in time.
 */
export async function runInUml(
  argv: readonly string[],
  {
    cwd,
    timeoutMs,
    memoryMb = 1200,
    environment = {},
  }: {
    readonly cwd: string;
    readonly timeoutMs: number;
    readonly memoryMb?: number;
    readonly environment?: Readonly<Record<string, string>>;
  },
): Promise<UmlResult> {
  await linkModules();
  const folder = await mkdtemp(join(tmpdir(), "squall-uml-"));
  try {
    const init = join(folder, "init");
    await writeFile(init, initScript(argv, { cwd, folder, environment }), { mode: 0o755 });
    const kernel = [
      "linux.uml",
      `mem=${memoryMb}M`,
      "rootfstype=hostfs",
      "rootflags=/",
      "rw",
      `init=${init}`,
      "con=null",
      "con0=null",
      "ssl=null",
      "quiet",
    ];
    await boot(kernel, { folder, timeoutMs });
    const exitCode = Number(await readFile(join(folder, "exit"), "utf8").catch(() => "255")); // a kernel that crashed left none
    return { exitCode, output: await readFile(join(folder, "output"), "utf8").catch(() => "") };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** modprobe looks where the machine's own modules would be. */
async function linkModules(): Promise<void> {
  const home = "/usr/lib/uml/modules";
  await mkdir("/lib/modules", { recursive: true });
  for (const version of await readdir(home)) await symlink(join(home, version), join("/lib/modules", version)).catch(() => undefined); // there already
}

/** The first process of the kernel. Every word of a command is quoted: this is the one shell script that the lab writes. */
function initScript(
  argv: readonly string[],
  { cwd, folder, environment }: { readonly cwd: string; readonly folder: string; readonly environment: Readonly<Record<string, string>> },
): string {
  const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
  return `#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/run
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mkdir -p /run/netns /dev/shm
ip link set lo up
for module in ${MODULES.join(" ")}; do modprobe "$module" 2>/dev/null; done
cd ${quote(cwd)}
${Object.entries(environment)
  .map(([name, value]) => `export ${name}=${quote(value)}`)
  .join("\n")}
${argv.map(quote).join(" ")} > ${quote(join(folder, "output"))} 2>&1
echo $? > ${quote(join(folder, "exit"))}
sync
echo o > /proc/sysrq-trigger
sleep 5
`;
}

function boot(kernel: readonly string[], { folder, timeoutMs }: { readonly folder: string; readonly timeoutMs: number }): Promise<void> {
  const [program = "", ...parameters] = kernel;
  return new Promise((resolve, reject) => {
    // a process group of its own: each process of the kernel is one here, and all must end
    const child = spawn(program, parameters, { cwd: folder, stdio: "ignore", detached: true });
    const end = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch {
        // all of them have ended
      }
    };
    const timer = setTimeout(() => {
      end();
      reject(new CommandError(kernel, undefined, `not within ${timeoutMs} ms`));
    }, timeoutMs);
    child.once("error", (error) => {
      clearTimeout(timer);
      reject(new CommandError(kernel, undefined, error.message, error));
    });
    child.once("close", () => {
      clearTimeout(timer);
      end();
      resolve();
    });
  });
}

import { mkdir, mkdtemp, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type DaemonProcess, startDaemon } from "../../../lab/daemon-process.ts";
import { lab } from "../../../lab/node/layout.ts";
import { writePauseImage } from "../../../lab/node/pause-image.ts";
import { run } from "../../../lab/run.ts";
import { waitUntil } from "../../../lab/wait-until.ts";
import { removeTraces } from "./containerd-traces.ts";

/** A containerd of a test's own. Its mounts and its /run are in a mount namespace that goes with it; its cgroups are below `cgroup`. */
export interface Containerd {
  /** Has the socket where a node's /run has it. */
  readonly hostRun: string;
  readonly socket: string;
  /** Below each cgroup hierarchy, for the sandboxes to be in. */
  readonly cgroup: string;
  start(): Promise<void>;
  /** SIGKILLs it; containers run on. */
  stop(): Promise<void>;
  /** Removes everything that it and its containers have left. */
  close(): Promise<void>;
}

const PATIENCE = { timeoutMs: 20_000, mayFail: true } as const;

/** Starts it, with an image for containers in it. For root. */
export async function createContainerd(): Promise<Containerd> {
  const folder = await mkdtemp(join(tmpdir(), "squall-containerd-"));
  const hostRun = join(folder, "run");
  const socket = join(hostRun, "containerd", "containerd.sock");
  const cgroup = `squall-test-${process.pid}`;
  await Promise.all(["run/containerd", "image"].map((path) => mkdir(join(folder, path), { recursive: true })));
  await writeFile(join(folder, "config.toml"), configuration(folder, socket));
  const holder = await startDaemon(
    "mount namespace",
    ["unshare", "--mount", "--propagation", "private", "sleep", "infinity"],
    join(folder, "log"),
  );
  await waitUntil("no mount namespace", async () => (await mountsOf(holder.pid)) !== (await mountsOf("self")), PATIENCE);
  const inside = (argv: readonly string[]): readonly string[] => ["nsenter", `--mount=/proc/${holder.pid}/ns/mnt`, ...argv];
  // containerd keeps the sockets of its shims in /run, whatever it is told.
  await run(inside(["mount", "-t", "tmpfs", "squall-test", "/run"]));

  let daemon: DaemonProcess | undefined;
  const containerd: Containerd = {
    hostRun,
    socket,
    cgroup,
    async start() {
      daemon = await startDaemon("containerd", inside(["containerd", "--config", join(folder, "config.toml")]), join(folder, "log"));
      const ctr = ["ctr", "--address", socket, "--connect-timeout", "1s"];
      await waitUntil("containerd does not answer", () => run([...ctr, "version"]).then(() => true), {
        ...PATIENCE,
        whyNever: () => (daemon?.isRunning() === true ? undefined : daemon?.lastWords()),
      });
    },
    async stop() {
      await daemon?.stop();
    },
    async close() {
      await daemon?.stop();
      await removeTraces({ socket, cgroup });
      await holder.stop();
      await rm(folder, { recursive: true });
    },
  };
  await containerd.start();
  const archive = await writePauseImage(join(folder, "image"));
  await run(["ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", archive], { timeoutMs: 20_000 });
  return containerd;
}

const mountsOf = (pid: number | "self"): Promise<string> => readlink(`/proc/${pid}/ns/mnt`);

/** As lab/node/configuration.ts has it, with everything below one folder. */
function configuration(folder: string, socket: string): string {
  return `version = 2
root = "${folder}/root"
state = "${folder}/state"
[grpc]
  address = "${socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "${folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${lab.pauseImage}"
  # Root without CAP_SYS_RESOURCE may not lower a score: every sandbox would fail.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "${folder}/cni"
`;
}

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, rmdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { ServedVolume } from "../../../common/sidecar-layout.ts";
import type { Counts, ServedFault } from "../../../sidecar/files/server-messages.ts";
import type { VolumeState } from "../../../sidecar/files/volume-keeper.ts";
import { ensureCgroups } from "./stress-target.ts";
import type { ToSidecar } from "./volume-sidecar.ts";

const run = promisify(execFile);

/** Waits until it holds, 20 s at most. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, { withinMs = 20_000 } = {}): Promise<void> {
  for (const endMs = performance.now() + withinMs; !(await holds()); await sleep(5))
    if (performance.now() > endMs) throw new Error(`Not within ${withinMs} ms: ${what}`);
}

/** A node with a mount namespace of its own and the folder of a kubelet, in which a daemon and pods may live and die. Close it. */
export class VolumeNode {
  readonly folder: string;
  readonly process: ChildProcess;
  readonly pods: Pod[] = [];
  daemon: ChildProcess | undefined;

  private constructor(folder: string, first: ChildProcess) {
    this.folder = folder;
    this.process = first;
  }

  static async open(): Promise<VolumeNode> {
    const folder = await mkdtemp(join(tmpdir(), "squall-volumes-"));
    await mkdir(join(folder, "kubelet", "pods"), { recursive: true });
    const first = spawn("unshare", ["--mount", "--propagation", "private", "sleep", "600"], { stdio: "ignore" });
    const own = await readlink("/proc/self/ns/mnt");
    await until("a mount namespace", async () => (await readlink(`/proc/${first.pid}/ns/mnt`)) !== own);
    return new VolumeNode(folder, first);
  }

  get kubeletFolder(): string {
    return join(this.folder, "kubelet");
  }

  async startDaemon(): Promise<void> {
    const child = spawn(process.execPath, [join(import.meta.dirname, "volume-daemon.ts"), this.kubeletFolder, String(this.process.pid)], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.daemon = child;
    const [message] = await once(child, "message");
    if (message.missing !== undefined) throw new Error(message.missing);
  }

  async states(): Promise<readonly string[]> {
    this.daemon?.send("states");
    const [message] = this.daemon === undefined ? [{ states: [] }] : await once(this.daemon, "message");
    return message.states;
  }

  /** Has the daemon take its mounts off the node, and says how many. */
  async detach(): Promise<number> {
    this.daemon?.send("detach");
    const [message] = this.daemon === undefined ? [{ count: 0 }] : await once(this.daemon, "message");
    return message.count;
  }

  async killDaemon(): Promise<void> {
    const child = this.daemon;
    if (child === undefined) return;
    this.daemon = undefined;
    await kill(child);
  }

  /** Ends it in order. */
  async closeDaemon(): Promise<void> {
    const child = this.daemon;
    this.daemon = undefined;
    if (child === undefined) return;
    child.disconnect();
    await once(child, "exit");
  }

  async addPod(volumes: readonly ServedVolume[] = [{ name: "data", source: "emptyDir" }]): Promise<Pod> {
    const pod = await Pod.create(this, volumes);
    this.pods.push(pod);
    return pod;
  }

  /** Paths of our mounts below its folder. */
  async mounts(): Promise<readonly string[]> {
    const text = await readFile(`/proc/${this.process.pid}/mountinfo`, "utf8");
    return text
      .split("\n")
      .flatMap((line) => (line.includes(` ${this.folder}/`) && / - fuse squall-/.test(line) ? [line.split(" ")[4] ?? ""] : []));
  }

  /** Runs a program among the node's mounts: as an application would. */
  async see(...argv: readonly string[]): Promise<string> {
    const { stdout } = await run("nsenter", [`--mount=/proc/${this.process.pid}/ns/mnt`, ...argv], {
      timeout: 20_000,
      killSignal: "SIGKILL",
    });
    return stdout;
  }

  async close(): Promise<void> {
    await this.killDaemon();
    for (const path of await this.mounts()) await this.see("umount", "--force", "--lazy", path);
    for (const pod of this.pods) await pod.killSidecar(); // it may be in another pod's group
    for (const pod of this.pods) await pod.close();
    await kill(this.process);
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** A pod with a folder of the kubelet, a group, an application that sleeps, and a sidecar when it is started. */
export class Pod {
  readonly uid: string = randomUUID();
  readonly #node: VolumeNode;
  readonly #volumes: readonly ServedVolume[];
  readonly group: string;
  readonly application: ChildProcess;
  sidecar: ChildProcess | undefined;
  #number = 0;

  private constructor(node: VolumeNode, volumes: readonly ServedVolume[], groups: string) {
    this.#node = node;
    this.#volumes = volumes;
    this.group = join(groups, `squall-volumes-${process.pid}`, `pod${this.uid}`);
    this.application = spawn("sleep", ["600"], { stdio: "ignore" });
  }

  static async create(node: VolumeNode, volumes: readonly ServedVolume[]): Promise<Pod> {
    const { root, version } = await ensureCgroups();
    const pod = new Pod(node, volumes, version === 1 ? join(root, "pids") : root);
    await mkdir(pod.group, { recursive: true });
    await writeFile(join(pod.group, "cgroup.procs"), String(pod.application.pid));
    for (const { name, source } of volumes) await mkdir(source === "emptyDir" ? pod.volume(name) : pod.claim(name), { recursive: true });
    await mkdir(pod.state, { recursive: true });
    return pod;
  }

  get folder(): string {
    return join(this.#node.kubeletFolder, "pods", this.uid);
  }

  get #container(): string {
    return join(this.group, "container");
  }

  /** Where the kubelet mounts the storage of a claim. */
  claim(name: string): string {
    return join(this.folder, "volumes/kubernetes.io~csi", `pvc-${name}`, "mount");
  }

  get state(): string {
    return this.volume("squall-state");
  }

  get socket(): string {
    return join(this.state, "files.sock");
  }

  /** An emptyDir. */
  volume(name: string): string {
    return join(this.folder, "volumes/kubernetes.io~empty-dir", name);
  }

  async startSidecar({
    as = this.uid,
    group = this.group,
    persistentVolumes = {},
  }: {
    readonly as?: string;
    readonly group?: string;
    readonly persistentVolumes?: Readonly<Record<string, string>>;
  } = {}): Promise<void> {
    const script = join(import.meta.dirname, "volume-sidecar.ts");
    const told = [JSON.stringify(this.#volumes), JSON.stringify(persistentVolumes)];
    const child = spawn(process.execPath, [script, as, this.socket, join(group, "cgroup.procs"), ...told], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      serialization: "advanced",
    });
    this.sidecar = child;
    await Promise.race([once(child, "message"), once(child, "exit").then(() => Promise.reject(new Error("The sidecar ended.")))]);
  }

  /** A process of the pod, among the node's mounts; of a container of its own, but for the sidecar's. */
  run(...argv: readonly string[]): ChildProcess {
    mkdirSync(this.#container, { recursive: true });
    const script = `echo $$ > ${join(this.#container, "cgroup.procs")} && exec "$@"`;
    const namespace = `--mount=/proc/${this.#node.process.pid}/ns/mnt`;
    return spawn("nsenter", [namespace, "sh", "-c", script, "sh", ...argv], { stdio: "ignore" });
  }

  /** With its servers, as the end of a container's first process takes all others with it. */
  async killSidecar(): Promise<void> {
    const child = this.sidecar;
    if (child === undefined) return;
    this.sidecar = undefined;
    const servers = await this.servers();
    await kill(child);
    for (const pid of servers) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It ended with the channel.
      }
    }
    await until("the servers' end", () => servers.every((pid) => !existsSync(`/proc/${pid}`)));
  }

  /** Pids of the processes that serve its volumes. */
  async servers(): Promise<readonly number[]> {
    const pids = (await readFile(join(this.group, "cgroup.procs"), "utf8")).split("\n").filter(Boolean).map(Number);
    const isServer = async (pid: number): Promise<boolean> =>
      (await readFile(`/proc/${pid}/cmdline`, "latin1").catch(() => "")).includes("serve-files");
    const found = await Promise.all(pids.map(async (pid) => ((await isServer(pid)) ? [pid] : [])));
    return found.flat();
  }

  async stateOf(volume: string): Promise<VolumeState | undefined> {
    const states: readonly (readonly [string, VolumeState])[] = await this.#ask({ ask: "state" });
    return new Map(states).get(volume);
  }

  rule(volume: string, faults: readonly ServedFault[]): Promise<void> {
    return this.#ask({ ask: "rule", volume, faults });
  }

  count(volume: string): Promise<readonly Counts[]> {
    return this.#ask({ ask: "count", volume });
  }

  drop(inode: number): Promise<void> {
    return this.#ask({ ask: "drop", node: inode });
  }

  untilServed(volume = "data"): Promise<void> {
    return until(`volume ${volume} is served`, async () => (await this.stateOf(volume))?.is === "serving");
  }

  async #ask<R>(question: Omit<ToSidecar, "number">): Promise<R> {
    const child = this.sidecar;
    if (child === undefined) throw new Error("The pod has no sidecar.");
    this.#number += 1;
    const number = this.#number;
    const answered = new Promise<R>((resolve, reject) => {
      const hear = (message: { readonly number?: number; readonly value: R; readonly error?: string }): void => {
        if (message.number !== number) return;
        child.off("message", hear).off("exit", lose);
        if (message.error === undefined) resolve(message.value);
        else reject(new Error(message.error));
      };
      const lose = (): void => reject(new Error("The sidecar ended."));
      child.on("message", hear).once("exit", lose);
    });
    child.send({ ...question, number });
    return answered;
  }

  async close(): Promise<void> {
    await this.killSidecar();
    await kill(this.application);
    await until("the pod's group is empty", async () => (await readFile(join(this.group, "cgroup.procs"), "utf8")) === "");
    await rmdir(this.#container).catch(() => undefined); // there may have been none
    await rmdir(this.group);
    if ((await readdir(join(this.group, ".."), { withFileTypes: true })).every((entry) => !entry.isDirectory()))
      await rmdir(join(this.group, ".."));
  }
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}

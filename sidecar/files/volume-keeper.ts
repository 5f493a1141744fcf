import { rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { closeAll, type Descriptor, type DescriptorSockets } from "../../agent/descriptors.ts";
import type { FromDaemon, WantedVolume } from "../../agent/hand-over.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import type { ServedVolume } from "../../common/sidecar-layout.ts";
import { DaemonConversation } from "./daemon-conversation.ts";
import { namelessOf, type PersistentVolumes } from "./persistent-volumes.ts";
import { Notifier } from "./notifier.ts";
import type { Counts, ServedFault } from "./server-messages.ts";
import { type VolumeInHand, VolumeServer } from "./volume-server.ts";
import { within } from "./within.ts";

export type VolumeState =
  /** The daemon has not handed it over, or its server has not answered yet. */
  | { readonly is: "waiting"; readonly why?: string }
  | { readonly is: "serving" }
  /** By the daemon, which says why; or nobody knows which of the pod's claims it is. */
  | { readonly is: "refused"; readonly reason: string; readonly message: string };

const NAMELESS: Extract<VolumeState, { is: "refused" }> = {
  is: "refused",
  reason: "PersistentVolumeUnknown",
  message:
    "The pod has several claims, and the controller did not say which persistent volume this one is of. Its log says why where it may not read claims; apply manifests/controller.yaml of this version, and delete the pod to try again.",
};
const WITHOUT_NAMES =
  "The controller has not told the name of its persistent volume, which the daemon needs in a pod with several claims. Does squall-controller run?";

/** What the kernel still has to drop by then waits for a server that does not answer. */
const NOTIFIED_WITHIN_MS = 3_000;

export interface VolumeKeeperOptions {
  readonly podUid: string;
  readonly volumes: readonly ServedVolume[];
  /** See `sidecarPaths.filesSocket`. */
  readonly socketPath: string;
  /** Program and arguments of the server process of a volume. */
  readonly command: readonly [program: string, ...parameters: string[]];
  readonly environment: NodeJS.ProcessEnv;
  readonly sockets: DescriptorSockets;
  readonly clock: Clock;
  readonly log: Log;
}

/** The volume is not served, so no fault of it is in force. */
export class NotServedError extends Error {
  override readonly name = "NotServedError";
}

/** What was last wanted of a volume, and when, in monotonic milliseconds. */
interface Wanted {
  readonly faults: readonly ServedFault[];
  readonly sinceMs: number;
}

interface Kept {
  readonly volume: VolumeInHand;
  readonly server: VolumeServer;
  readonly notifier: Notifier;
}

/** Takes the volumes of this pod over from the node's daemon, keeps their descriptors, and has each of them served by a process. */
export class VolumeKeeper {
  readonly #options: VolumeKeeperOptions;
  readonly #kept = new Map<string, Kept>();
  /** By the daemon that is connected. */
  readonly #refused = new Map<string, Extract<VolumeState, { is: "refused" }>>();
  #persistentVolumes: PersistentVolumes = new Map();
  readonly #wanted = new Map<string, Wanted>();
  readonly #listeners: (() => void)[] = [];
  #listening: Server | undefined;
  #conversation: DaemonConversation | undefined;

  constructor(options: VolumeKeeperOptions) {
    this.#options = options;
  }

  /**
   * Listens for the daemon. A volume is served some time later: see `onChange`. Not before the names of the persistent volumes are known, for those that need
   * them: one without is refused.
   */
  async start(persistentVolumes: PersistentVolumes = new Map()): Promise<void> {
    const { socketPath, log } = this.#options;
    this.#persistentVolumes = persistentVolumes;
    await rm(socketPath, { force: true }); // of an earlier life, where nobody listens any more
    const server = createServer({ pauseOnConnect: true }, (socket) => this.#meet(socket));
    await new Promise<void>((resolve, reject) => server.once("error", reject).listen(socketPath, resolve));
    server.on("error", (error) => log.error({ err: error }, "the daemon cannot be listened for any more"));
    this.#listening = server;
    this.#tell();
  }

  /** Of each volume that is wanted. */
  state(): ReadonlyMap<string, VolumeState> {
    return new Map(this.#options.volumes.map(({ name }) => [name, this.#stateOf(name)]));
  }

  /** Every fault is. */
  refusalOf(): undefined {
    return undefined;
  }

  /** Calls back when the state of a volume has changed. */
  onChange(callback: () => void): void {
    this.#listeners.push(callback);
  }

  /**
   * Has exactly these faults in force on a volume, for as long as they last, whatever becomes of its server. Rejects with NotServedError where nothing
   * is in force: the first server of a volume that is yet to come begins with them. Rejects with VolumeServerError where they may be in force or
   * become so.
   */
  async rule(volume: string, faults: readonly ServedFault[]): Promise<void> {
    this.#wanted.set(volume, { faults, sinceMs: this.#options.clock.monotonicMs() });
    const kept = this.#kept.get(volume);
    if (kept !== undefined) return kept.server.rule(faults);
    if (faults.length > 0) throw new NotServedError(this.#explainMissing(volume));
    return undefined;
  }

  /** What the faults in force on a volume did. Never rejects; empty where it is not served. */
  async count(volume: string): Promise<readonly Counts[]> {
    return (await this.#kept.get(volume)?.server.count()) ?? [];
  }

  /** Calls on files of the volumes wait from then on, until somebody else serves them or the daemon takes the mounts away. */
  async close(): Promise<void> {
    this.#conversation?.close();
    this.#listening?.close();
    await Promise.all([...this.#kept.keys()].map((name) => this.#drop(name)));
  }

  #stateOf(name: string): VolumeState {
    if (this.#kept.get(name)?.server.isServing === true) return { is: "serving" };
    if (this.#listening === undefined) return { is: "waiting", why: WITHOUT_NAMES };
    return this.#refused.get(name) ?? (this.#isNameless(name) ? NAMELESS : { is: "waiting" });
  }

  #isNameless(name: string): boolean {
    return namelessOf(this.#options.volumes).includes(name) && this.#persistentVolumes.get(name) === undefined;
  }

  /** Those that the daemon is asked for. */
  #wantedVolumes(): readonly WantedVolume[] {
    return this.#options.volumes
      .filter(({ name }) => !this.#isNameless(name))
      .map(({ name, source }) => {
        const persistentVolume = this.#persistentVolumes.get(name);
        return { name, source, ...(persistentVolume !== undefined && { persistentVolume }) };
      });
  }

  #explainMissing(volume: string): string {
    if (!this.#options.volumes.some(({ name }) => name === volume))
      return `Volume ${volume} is not served. Name it in the pod's annotation squall.dev/volumes, and create the pod again.`;
    const state = this.#stateOf(volume);
    if (state.is === "refused") return `Volume ${volume} is not served: ${state.message}`;
    const why = state.is === "waiting" ? state.why : undefined;
    return `Volume ${volume} is not served yet. ${why ?? "The daemon of the node has not mounted it. Does squall-daemon run there?"}`;
  }

  /** A daemon connected. One that was connected before is gone or about to go. */
  #meet(socket: Socket): void {
    const { podUid, sockets, log } = this.#options;
    const volumes = this.#wantedVolumes();
    this.#conversation?.close();
    this.#refused.clear();
    const missing = volumes.filter(({ name }) => !this.#kept.has(name)).map(({ name }) => name);
    const held = [...this.#kept.values()];
    const conversation: DaemonConversation = new DaemonConversation(socket, {
      sockets,
      hello: {
        say: "hello",
        podUid,
        volumes,
        held: held.map(({ volume, server }) => ({ name: volume.name, init: server.init })),
      },
      descriptors: held.flatMap(({ volume }) => volume.descriptors),
      missing,
      onAnswer: (said, descriptors) => {
        if (this.#conversation === conversation) this.#take(said, descriptors);
        else closeAll(descriptors);
      },
      onEnd: (error) => {
        if (this.#conversation !== conversation) return;
        this.#conversation = undefined;
        log.info({ err: error }, "the daemon is not connected any more");
      },
    });
    this.#conversation = conversation;
    conversation.start();
  }

  #take(said: FromDaemon, descriptors: readonly Descriptor[]): void {
    const { volumes, clock, log } = this.#options;
    const [fuse, folder, requests] = descriptors;
    if (said.say === "refuse" || fuse === undefined || folder === undefined || requests === undefined) {
      closeAll(descriptors);
      if (said.say !== "refuse") return;
      const { name, reason, message } = said;
      this.#refused.set(name, { is: "refused", reason, message });
      log.warn({ volume: name, reason, message }, "the daemon refused to mount a volume");
      this.#tell();
      return;
    }
    const isShared = volumes.find(({ name }) => name === said.name)?.source === "claim";
    const volume: VolumeInHand = { name: said.name, descriptors: [fuse, folder, requests], init: said.init, isShared };
    const notifier = new Notifier(fuse.number);
    const server = this.#serve(volume, notifier);
    this.#kept.set(said.name, { volume, server, notifier });
    const { faults, sinceMs } = this.#wanted.get(said.name) ?? { faults: [], sinceMs: 0 };
    const passedMs = clock.monotonicMs() - sinceMs;
    server
      .rule(faults.map((fault) => ({ ...fault, remainingMs: Math.max(fault.remainingMs - passedMs, 0) })))
      .catch((error: unknown) => log.debug({ err: error, volume: said.name }, "the first faults of a volume are not in force yet"));
  }

  #serve(volume: VolumeInHand, notifier: Notifier): VolumeServer {
    const { name } = volume;
    const { command, environment, clock, log } = this.#options;
    return new VolumeServer(volume, {
      command,
      environment,
      clock,
      log,
      notifier,
      onServing: (init) => {
        log.info({ volume: name }, "a volume is served");
        this.#conversation?.say({ say: "serving", name, init });
        this.#tell();
      },
      onDeath: () => this.#tell(),
      onUnmounted: () => {
        log.info({ volume: name }, "a volume was unmounted");
        void this.#drop(name).then(() => {
          // The next conversation asks for it again.
          this.#conversation?.close();
          this.#tell();
        });
      },
    });
  }

  /** A process still has its own copies of the descriptors, which are gone with it. */
  async #drop(name: string): Promise<void> {
    const kept = this.#kept.get(name);
    if (kept === undefined) return;
    this.#kept.delete(name);
    await within(NOTIFIED_WITHIN_MS, kept.notifier.close(), this.#options.clock).catch(() => undefined);
    await kept.server.close();
    closeAll(kept.volume.descriptors);
  }

  #tell(): void {
    for (const callback of this.#listeners) callback();
  }
}

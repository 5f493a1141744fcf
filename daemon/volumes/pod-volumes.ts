import { fstatSync } from "node:fs";
import { closeAll, type Descriptor, type DescriptorSockets } from "../../agent/descriptors.ts";
import { DESCRIPTORS_OF_VOLUME, HandOverError, type WantedVolume } from "../../agent/hand-over.ts";
import { createSharedMemory, isSharedMemory } from "../../agent/shared-memory.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import type { FuseDevices } from "./fuse-devices.ts";
import type { NodeMounts } from "./node-mounts.ts";
import type { PodFolders } from "./pod-folders.ts";
import type { PodMembers } from "./pod-members.ts";
import { EarlyEndError, linkSidecar, NobodyListensError, type SidecarLink } from "./sidecar-link.ts";

export interface PodVolumesOptions {
  readonly folders: PodFolders;
  readonly mounts: NodeMounts;
  readonly members: PodMembers;
  readonly devices: FuseDevices;
  readonly sockets: DescriptorSockets;
  readonly clock: Clock;
  readonly log: Log;
}

export type PodVolumeState = "serving" | "waiting" | "refused";

/** A volume that is mounted, and our copies of what its server needs. */
interface Mounted {
  readonly fuse: Descriptor;
  readonly folder: Descriptor;
  /** Memory of the requests that its servers have read and not answered. */
  readonly requests: Descriptor;
  readonly init: string | undefined;
}

/** A sidecar that starts listens some milliseconds after its socket is there. One that has ended leaves a socket, too. */
const CONNECT = { firstMs: 5, mostMs: 250, givesUpAfterMs: 1500 } as const;
/** A sidecar that goes on without its connection listens at once; one that is ending still takes a connection for a moment. */
const GOES_ON_WITHIN_MS = 20;
/** How often it is looked whether a pod without its sidecar still has processes: soon after the sidecar went, later less often. */
const LOOK = { firstMs: 20, mostMs: 1000 } as const;
/** How often it is looked whether a sidecar that is connected goes on. */
const LOOK_AT_SIDECAR_MS = 5_000;
/** What went wrong may have been put right by then. */
const RETRY_MS = 30_000;
const TOO_LATE =
  "Containers of the pod ran before the daemon of the node could mount it. Files that they have open would go past the mount, so it is left as it is. Delete the pod: the next one is served from its start on.";
/** Name of the memory of requests in flight. */
const REQUESTS = "squall-requests";
const FUSE_DEVICE = { major: 10, minor: 229 } as const;

/**
 * The volumes of one pod: mounts them for its sidecar, keeps copies of the descriptors for the next one, and takes the mounts away before the kubelet
 * tears the pod down.
 */
export class PodVolumes {
  readonly #podUid: string;
  readonly #options: PodVolumesOptions;
  readonly #log: Log;
  readonly #mounted = new Map<string, Mounted>();
  readonly #refused = new Set<string>();
  /** Mounted by an earlier life; who has the descriptors is yet to be found out. */
  readonly #orphans: Set<string>;
  #link: SidecarLink | undefined;
  #work: Promise<void> = Promise.resolve();
  #isWoken = false;
  #isClosed = false;
  #cancelLook = (): void => undefined;
  #cancelRetry = (): void => undefined;
  #cancelLookAtSidecar = (): void => undefined;

  constructor(podUid: string, orphans: readonly string[], options: PodVolumesOptions) {
    this.#podUid = podUid;
    this.#options = options;
    this.#log = options.log.child({ podUid });
    this.#orphans = new Set(orphans);
  }

  get states(): readonly PodVolumeState[] {
    const mounted = [...this.#mounted.values()].map(
      ({ init }): PodVolumeState => (init !== undefined && this.#link !== undefined ? "serving" : "waiting"),
    );
    return [...mounted, ...[...this.#refused].map((): PodVolumeState => "refused")];
  }

  /** A sidecar listens or is about to: connects to it, unless it is connected. */
  wake(): void {
    if (this.#isWoken || this.#isClosed) return;
    this.#isWoken = true;
    this.#queue(async () => {
      this.#isWoken = false;
      if (this.#link === undefined && !this.#isClosed) await this.#meet({ forMs: CONNECT.givesUpAfterMs });
    });
  }

  /** The pod is not on this node any more. */
  forget(): Promise<void> {
    this.#isClosed = true;
    this.#queue(async () => void (await this.#unmountAll("the pod is gone")));
    return this.close();
  }

  /** Takes the mounts off the node for good, and says how many. Containers that run keep theirs, which their sidecar serves. Throws where one cannot be. */
  async detach(): Promise<number> {
    this.#isClosed = true;
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    this.#queue(() => this.#unmountAll("Squall is being uninstalled", { isForced: false }).then(resolve, reject));
    return promise;
  }

  /** What is mounted stays so, and served. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelLook();
    this.#cancelRetry();
    this.#cancelLookAtSidecar();
    await this.#work;
    this.#link?.close();
    this.#link = undefined;
    for (const mounted of this.#mounted.values()) closeAll(descriptorsOf(mounted));
    this.#mounted.clear();
  }

  /** One after the other. */
  #queue(act: () => Promise<void>): void {
    this.#work = this.#work.then(act).catch((error: unknown) => this.#log.warn({ err: error }, "volumes of a pod could not be seen to"));
  }

  async #meet({ forMs }: { readonly forMs: number }): Promise<void> {
    try {
      const link = await this.#connect(forMs);
      if (link === undefined) return; // it is closed
      await this.#serve(link);
    } catch (error) {
      if (error instanceof NobodyListensError) {
        this.#log.debug({ err: error }, "no sidecar listens");
        // No sidecar holds what this process does not hold: everybody who waits for an answer would wait for ever.
        await this.#unmountOrphans();
      } else {
        this.#log.warn({ err: error }, "the sidecar of a pod could not be spoken to; it is tried again");
        this.#retryLater();
      }
    }
    if (this.#link === undefined) this.#watchForEnd();
  }

  async #connect(forMs: number): Promise<SidecarLink | undefined> {
    const { clock } = this.#options;
    const untilMs = clock.monotonicMs() + forMs;
    for (let waitMs: number = CONNECT.firstMs; !this.#isClosed; waitMs = Math.min(waitMs * 2, CONNECT.mostMs)) {
      try {
        return await linkSidecar({ ...this.#options, podUid: this.#podUid });
      } catch (error) {
        const isPassing = error instanceof NobodyListensError || error instanceof EarlyEndError;
        if (!isPassing || clock.monotonicMs() >= untilMs) throw error;
        await new Promise<void>((resolve) => clock.after(waitMs, resolve));
      }
    }
    return undefined;
  }

  async #serve(link: SidecarLink): Promise<void> {
    const startMs = this.#options.clock.monotonicMs();
    this.#cancelLook();
    this.#cancelRetry();
    try {
      this.#adopt(link);
      // What neither of us holds, nobody does.
      const lost = new Set(this.#orphans);
      await this.#unmountOrphans();
      await this.#forgetUnmounted();
      this.#refused.clear();
      const held = new Set(link.hello.held.map(({ name }) => name));
      for (const volume of link.hello.volumes)
        if (!held.has(volume.name)) await this.#hand(link, volume, { wasMounted: lost.has(volume.name) });
    } catch (error) {
      link.close();
      throw error;
    }
    this.#link = link;
    link.listen({
      onServing: (name, init) => {
        const mounted = this.#mounted.get(name);
        if (mounted === undefined) return;
        if (mounted.init === undefined) this.#log.info({ volume: name }, "a volume is served");
        this.#mounted.set(name, { ...mounted, init });
      },
      onEnd: (error) => this.#lose(error),
    });
    this.#watchSidecar(link);
    const tookMs = Math.round(this.#options.clock.monotonicMs() - startMs);
    this.#log.info({ volumes: [...this.#mounted.keys()], refused: [...this.#refused], tookMs }, "a sidecar has its volumes");
  }

  /** Takes copies of what a sidecar already holds. */
  #adopt(link: SidecarLink): void {
    const { hello, descriptors } = link;
    try {
      for (const [index, { name, init }] of hello.held.entries()) {
        const [fuse, folder, requests] = descriptors.slice(DESCRIPTORS_OF_VOLUME * index);
        if (fuse === undefined || folder === undefined || requests === undefined || !areOfVolume(fuse, folder, requests))
          throw new HandOverError(`The sidecar sent something else than /dev/fuse, a folder and memory for volume ${name}.`);
        this.#orphans.delete(name);
        const known = this.#mounted.get(name);
        if (known === undefined) this.#log.info({ volume: name }, "a volume that is served was taken back into care");
        else closeAll(descriptorsOf(known));
        this.#mounted.set(name, { fuse, folder, requests, init });
      }
    } finally {
      const kept = new Set([...this.#mounted.values()].flatMap(descriptorsOf));
      closeAll(descriptors.filter((descriptor) => !kept.has(descriptor)));
    }
  }

  /** Somebody else may have unmounted a volume: then nobody can serve it by these descriptors. */
  async #forgetUnmounted(): Promise<void> {
    if (this.#mounted.size === 0) return;
    const mounts = await this.#options.mounts.list();
    for (const [name, mounted] of this.#mounted) {
      if (mounts.some(({ podUid, volume }) => podUid === this.#podUid && volume === name)) continue;
      this.#mounted.delete(name);
      closeAll(descriptorsOf(mounted));
    }
  }

  /** `wasMounted`: until a moment ago. */
  async #hand(link: SidecarLink, volume: WantedVolume, { wasMounted }: { readonly wasMounted: boolean }): Promise<void> {
    const { name } = volume;
    const before = this.#mounted.get(name);
    // Whether the kernel and an earlier server came to terms, nobody knows any more; without those terms nobody can go on.
    const isUseless = before !== undefined && before.init === undefined;
    if (isUseless) await this.#unmount(name, "its server never answered");
    const mounted = this.#mounted.get(name) ?? (await this.#mount(link, volume, { wasMounted: wasMounted || isUseless }));
    if (mounted === undefined) return;
    await link.say({ say: "hand", name, init: mounted.init }, descriptorsOf(mounted));
  }

  async #mount(link: SidecarLink, volume: WantedVolume, { wasMounted }: { readonly wasMounted: boolean }): Promise<Mounted | undefined> {
    const { name } = volume;
    const { folders, mounts, devices, members } = this.#options;
    const podUid = this.#podUid;
    // What a container has open goes past our mount: it would not see what others write through FUSE, nor they what it writes. One that mounts the
    // volume read-only could write.
    const isTooLate = (): boolean => !wasMounted && members.hasProcessesBeside(link.pid, podUid);
    if (isTooLate()) {
      await this.#refuse(link, { name, reason: "ContainersRun", message: TOO_LATE });
      return undefined;
    }
    const found = folders.openVolume(podUid, volume);
    if (found.is === "refused") {
      await this.#refuse(link, { name, reason: found.reason, message: found.message });
      return undefined;
    }
    try {
      const fuse = await devices.take();
      const opened = [fuse];
      try {
        const isShared = volume.source === "claim";
        const requests = createSharedMemory(REQUESTS);
        opened.push(requests);
        const folder = mounts.mount(found.folder, fuse, { podUid, volume: name, isShared });
        const mounted: Mounted = { fuse, folder, requests, init: undefined };
        this.#mounted.set(name, mounted);
        this.#log.info({ volume: name }, "a volume was mounted");
        if (!isTooLate()) return mounted;
        await this.#unmount(name, "a container started at the same time");
        await this.#refuse(link, { name, reason: "ContainersRun", message: TOO_LATE });
        return undefined;
      } catch (error) {
        if (this.#mounted.has(name)) await this.#unmount(name, "it could not be handed over");
        closeAll(opened);
        throw error;
      }
    } catch (error) {
      this.#log.warn({ err: error, volume: name }, "a volume could not be mounted");
      const message = error instanceof Error ? error.message : String(error);
      await this.#refuse(link, { name, reason: "MountFailed", message: `The daemon of the node could not mount it: ${message}` });
      return undefined;
    } finally {
      found.folder.close();
    }
  }

  async #refuse(link: SidecarLink, refusal: { readonly name: string; readonly reason: string; readonly message: string }): Promise<void> {
    this.#refused.add(refusal.name);
    await link.say({ say: "refuse", ...refusal, message: refusal.message.slice(0, 1000) }, []);
  }

  /** One that is killed with all its servers, while it has the kernel drop what they have locked, cannot end, and its connection stays. */
  #watchSidecar(link: SidecarLink): void {
    this.#cancelLookAtSidecar();
    this.#cancelLookAtSidecar = this.#options.clock.after(LOOK_AT_SIDECAR_MS, () => {
      if (this.#link !== link) return;
      if (this.#goesOn(link)) return this.#watchSidecar(link);
      link.close();
      this.#lose(new Error("It was killed and cannot end."));
    });
  }

  #goesOn({ pid }: SidecarLink): boolean {
    try {
      return this.#options.members.goesOn(pid);
    } catch (error) {
      this.#log.warn({ err: error, pid }, "a sidecar could not be looked at");
      return true;
    }
  }

  /** The sidecar ended, or said something wrong. */
  #lose(error: Error | undefined): void {
    this.#link = undefined;
    this.#log.info({ err: error }, "a sidecar is not connected any more");
    this.#watchForEnd();
    // Where it goes on, it listens now; a new one makes a new socket, which is another reason to look.
    this.#queue(async () => {
      if (this.#link === undefined && !this.#isClosed) await this.#meet({ forMs: GOES_ON_WITHIN_MS });
    });
  }

  #retryLater(): void {
    this.#cancelRetry();
    this.#cancelRetry = this.#options.clock.after(RETRY_MS, () => {
      this.#link?.close();
      this.#link = undefined;
      this.wake();
    });
  }

  /** A pod whose sidecar and everything else has ended is about to be torn down. */
  #watchForEnd(waitMs: number = 0): void {
    this.#cancelLook();
    if (this.#isClosed || this.#mounted.size + this.#orphans.size === 0) return;
    this.#cancelLook = this.#options.clock.after(waitMs, () => {
      if (this.#link !== undefined || this.#isClosed) return;
      if (this.#isDeserted()) this.#queue(() => this.#unmountDeserted());
      else this.#watchForEnd(Math.min(Math.max(waitMs * 1.5, LOOK.firstMs), LOOK.mostMs));
    });
  }

  #isDeserted(): boolean {
    try {
      return !this.#options.members.hasProcesses(this.#podUid);
    } catch (error) {
      this.#log.warn({ err: error }, "the processes of a pod could not be listed");
      return false;
    }
  }

  async #unmountDeserted(): Promise<void> {
    if (this.#link === undefined && !this.#isClosed) await this.#unmountAll("nothing runs in the pod any more");
  }

  async #unmountAll(why: string, how = { isForced: true }): Promise<number> {
    const names = new Set([...this.#mounted.keys(), ...this.#orphans]);
    const problems: unknown[] = [];
    for (const name of names) await this.#unmount(name, why, how).catch((error: unknown) => problems.push(error));
    if (problems.length > 0)
      throw new AggregateError(problems, `${problems.length} of ${names.size} volumes of pod ${this.#podUid} stay mounted.`);
    return names.size;
  }

  async #unmountOrphans(): Promise<void> {
    for (const name of this.#orphans) await this.#unmount(name, "nobody can serve it any more");
  }

  async #unmount(name: string, why: string, how = { isForced: true }): Promise<void> {
    await this.#options.mounts.unmount({ podUid: this.#podUid, volume: name }, how);
    const mounted = this.#mounted.get(name);
    this.#mounted.delete(name);
    this.#orphans.delete(name);
    if (mounted !== undefined) closeAll(descriptorsOf(mounted));
    this.#log.info({ volume: name, why }, "a volume was unmounted");
  }
}

const descriptorsOf = ({ fuse, folder, requests }: Mounted): readonly Descriptor[] => [fuse, folder, requests];

const areOfVolume = (fuse: Descriptor, folder: Descriptor, requests: Descriptor): boolean =>
  isSharedMemory(requests, REQUESTS) && isFuseDevice(fuse) && fstatSync(folder.number).isDirectory();

function isFuseDevice({ number }: Descriptor): boolean {
  const found = fstatSync(number);
  // See makedev(3), for small numbers.
  return found.isCharacterDevice() && found.rdev === FUSE_DEVICE.major * 256 + FUSE_DEVICE.minor;
}

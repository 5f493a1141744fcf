import { type FSWatcher, watch } from "node:fs";
import { access, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { socketName, stateSteps } from "./pod-folders.ts";

export interface PodSocketsOptions {
  /** The folder with a folder for each pod. */
  readonly path: string;
  /** The socket of a sidecar is there, or there anew. */
  readonly onSocket: (podUid: string) => void;
  /** The pod's folder is gone. */
  readonly onGone: (podUid: string) => void;
  readonly clock: Clock;
  readonly log: Log;
}

const POD_UID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** Where the kernel does not tell of changes: it has a limit for that. */
const LOOK_AGAIN_MS = 1000;

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false, // not there, or on its way out
  );

/**
 * Tells of the sockets of sidecars as they come, those that are there included; the kernel wakes it (inotify(7)), so it costs nothing while nothing
 * happens. Looks at names only: a look into a volume whose server hangs would hang, too.
 */
export class PodSockets {
  readonly #options: PodSocketsOptions;
  readonly #pods = new Map<string, Chain>();
  readonly #chain: Chain;

  constructor(options: PodSocketsOptions) {
    this.#options = options;
    this.#chain = new Chain(options.path, [], { ...options, onEnd: () => this.#look(), onBroken: () => undefined });
    this.#chain.look();
  }

  close(): void {
    this.#chain.close();
    for (const pod of this.#pods.values()) pod.close();
    this.#pods.clear();
  }

  async #look(): Promise<void> {
    const { path, onSocket, onGone, log } = this.#options;
    let found: readonly string[];
    try {
      found = (await readdir(path)).filter((name) => POD_UID.test(name));
    } catch (error) {
      log.warn({ err: error }, "the pods of this node cannot be listed");
      return;
    }
    if (this.#chain.isClosed) return;
    for (const podUid of found.filter((name) => !this.#pods.has(name))) {
      const pod = new Chain(join(path, podUid), stateSteps, {
        ...this.#options,
        async onEnd(state) {
          if ((await exists(join(state, socketName))) && !pod.isClosed) onSocket(podUid);
        },
        only: socketName,
        onBroken: () => this.#chain.look(),
      });
      this.#pods.set(podUid, pod);
      pod.look();
    }
    const now = new Set(found);
    for (const [podUid, pod] of this.#pods) {
      if (now.has(podUid)) continue;
      pod.close();
      this.#pods.delete(podUid);
      onGone(podUid);
    }
  }
}

interface ChainOptions extends Pick<PodSocketsOptions, "clock" | "log"> {
  /** The last folder is there, and each time that something in it changed; one call after the other. */
  readonly onEnd: (path: string) => Promise<void>;
  /** Of changes in the last folder, only those of this name matter. */
  readonly only?: string;
  /** The first folder is not there any more. */
  readonly onBroken: () => void;
}

/** Watches a folder that may come into being step by step: at any time the last of the steps that is there. */
class Chain {
  readonly #base: string;
  readonly #steps: readonly string[];
  readonly #options: ChainOptions;
  #watcher: FSWatcher | undefined;
  #watched = -1;
  #isLooking = false;
  #isStale = false;
  #cancel = (): void => undefined;
  isClosed = false;

  constructor(base: string, steps: readonly string[], options: ChainOptions) {
    this.#base = base;
    this.#steps = steps;
    this.#options = options;
  }

  /** Finds the last step that is there, and watches it. */
  look(): void {
    this.#isStale = true;
    if (this.#isLooking) return;
    this.#isLooking = true;
    void this.#lookUntilDone().finally(() => (this.#isLooking = false));
  }

  close(): void {
    this.isClosed = true;
    this.#cancel();
    this.#watcher?.close();
  }

  #pathOf(depth: number): string {
    return join(this.#base, ...this.#steps.slice(0, depth));
  }

  async #lookUntilDone(): Promise<void> {
    while (this.#isStale && !this.isClosed) {
      this.#isStale = false;
      let depth = -1;
      while (depth < this.#steps.length && (await exists(this.#pathOf(depth + 1)))) depth += 1;
      if (this.isClosed) return;
      if (depth < 0) {
        this.#options.onBroken();
        return;
      }
      // What came between the look and the watch made no event: so it is looked at once more.
      if (depth !== this.#watched) {
        this.#isStale = this.#watch(depth);
        if (this.#isStale) continue;
      }
      if (depth === this.#steps.length) await this.#options.onEnd(this.#pathOf(depth));
    }
  }

  /** Returns whether the kernel will tell of changes. */
  #watch(depth: number): boolean {
    this.#watcher?.close();
    this.#watched = depth;
    const { only, clock, log } = this.#options;
    const isLast = depth === this.#steps.length;
    const lose = (error: unknown): void => {
      this.#watched = -1;
      log.debug({ err: error }, "a folder cannot be watched; it is looked at every second");
      this.#cancel();
      this.#cancel = clock.after(LOOK_AGAIN_MS, () => this.look());
    };
    try {
      const watcher = watch(this.#pathOf(depth), { persistent: false }, (event, name) => {
        if (event !== "rename") return;
        const isOwnEnd = name === null || name === this.#pathOf(depth).split("/").at(-1);
        if (isOwnEnd) this.#watched = -1; // it may be another one by then
        if (!isLast || only === undefined || name === only || isOwnEnd) this.look();
      });
      watcher.on("error", lose);
      this.#watcher = watcher;
      return true;
    } catch (error) {
      lose(error);
      return false;
    }
  }
}

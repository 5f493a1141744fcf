import * as z from "zod";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { createBackOff } from "./back-off.ts";
import { isKubeError, type KubeError } from "./errors.ts";
import type { Kube, KubeObject, ListOptions, ObjectMeta, Resource } from "./kube.ts";
import { keyOf } from "./object-key.ts";
import { metaSchema } from "./resources.ts";
import { wait } from "./wait.ts";

export interface ReflectorOptions<T extends KubeObject> {
  readonly kube: Kube;
  readonly resource: Resource<T>;
  /** Which objects; all of them by default. */
  readonly scope?: ListOptions | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: (() => number) | undefined;
  /** Whether one object that cannot be read makes all of them unknown: for limits, where leaving one out would allow what it forbids. */
  readonly mustReadAll?: boolean | undefined;
}

/** What may be asked of a reflector of any kind. */
export type AnyReflector = Pick<Reflector<KubeObject>, "start" | "close" | "synced" | "isSynced" | "silentMs">;

/** Finds objects by a value, as `addIndex` was told to. */
export type Lookup<T> = (value: string) => readonly T[];

interface Index<T> {
  readonly valuesOf: (object: T) => readonly string[];
  readonly keysByValue: Map<string, Set<string>>;
}

const FIRST_WAIT_MS = 500;
/** So long a fault may outlive the deletion of its experiment when watches keep breaking. */
const LONGEST_WAIT_MS = 10_000;
/** A watch that ended sooner than this counts as a failure: a server that closes each one at once must not be asked in a tight loop. */
const SHORT_WATCH_MS = 5_000;

const withMetadata = z.object({ metadata: metaSchema });

/**
 * A copy of all objects of a kind, kept fresh by one list and a chain of watches. Whatever goes wrong, it goes on trying;
 * `silentMs` tells how old the copy may be. Handlers get keys only and look up the rest when they come to it. An object that cannot be read,
 * such as one that a newer Squall wrote, keeps the copy that it had, if any, and does not keep the others from being heard of.
 */
export class Reflector<T extends KubeObject> {
  readonly #options: ReflectorOptions<T>;
  readonly #resource: Resource<T | Unreadable>;
  readonly #objects = new Map<string, T>();
  readonly #indexes: Index<T>[] = [];
  readonly #handlers = new Set<(key: string) => void>();
  readonly #end = new AbortController();
  readonly #firstSync = Promise.withResolvers<void>();
  #lastContactMs: number | undefined;
  #isSynced = false;
  #running: Promise<void> | undefined;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    const { resource, mustReadAll } = options;
    this.#resource = mustReadAll === true ? resource : { ...resource, parse: (raw) => parseOrTell(resource, raw) };
    // Nobody may be waiting for it when `close` comes first.
    this.#firstSync.promise.catch(() => undefined);
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Ends the watch; the copy stays readable. */
  async close(): Promise<void> {
    this.#end.abort(new Error(`The reflector of ${this.#options.resource.plural} was closed.`));
    this.#firstSync.reject(this.#end.signal.reason);
    await this.#running;
  }

  /** Resolves once the first list is in; rejects when the reflector is closed before that. */
  synced(): Promise<void> {
    return this.#firstSync.promise;
  }

  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** Milliseconds since the API server last said anything about this kind; undefined before the first list. Above two minutes something is wrong. */
  get silentMs(): number | undefined {
    return this.#lastContactMs === undefined ? undefined : this.#options.clock.monotonicMs() - this.#lastContactMs;
  }

  get size(): number {
    return this.#objects.size;
  }

  /** By key, see `object-key.ts`. */
  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  /** All objects, or those of a namespace. For large kinds, index instead. */
  list(namespace?: string): readonly T[] {
    const all = [...this.#objects.values()];
    return namespace === undefined ? all : all.filter(({ metadata }) => metadata.namespace === namespace);
  }

  /** Keeps objects findable by values of theirs. Call it before `start`. */
  addIndex(valuesOf: (object: T) => readonly string[]): Lookup<T> {
    if (this.#running !== undefined) throw new Error("An index is added before the reflector starts.");
    const index: Index<T> = { valuesOf, keysByValue: new Map() };
    this.#indexes.push(index);
    return (value) => {
      const found: T[] = [];
      for (const key of index.keysByValue.get(value) ?? []) {
        const object = this.#objects.get(key);
        if (object !== undefined) found.push(object);
      }
      return found;
    };
  }

  /** Calls back with the key of each object that came, changed or went. The returned function takes the handler off. */
  onChange(handler: (key: string) => void): () => void {
    this.#handlers.add(handler);
    return () => this.#handlers.delete(handler);
  }

  async #run(): Promise<void> {
    const { clock, log, resource, random = Math.random } = this.#options;
    const backOff = createBackOff({ firstMs: FIRST_WAIT_MS, longestMs: LONGEST_WAIT_MS, random });
    const { signal } = this.#end;
    let version: string | undefined;
    while (!signal.aborted) {
      let waitMs = 0;
      let watchedSinceMs: number | undefined;
      const wasWatchLong = (): boolean => watchedSinceMs !== undefined && clock.monotonicMs() - watchedSinceMs >= SHORT_WATCH_MS;
      try {
        version ??= await this.#list(signal);
        watchedSinceMs = clock.monotonicMs();
        version = await this.#watch(version, signal);
        if (wasWatchLong()) backOff.reset();
        else waitMs = backOff.nextMs();
      } catch (error) {
        if (signal.aborted) break;
        if (wasWatchLong()) backOff.reset();
        if (isKubeError(error, "gone")) {
          log.info({ resource: resource.plural }, "watch is too old; listing again");
          version = undefined;
        } else if (isKubeError(error, "timeout")) {
          // Servers without progress notices of etcd send no bookmarks for a kind that nobody changes.
          log.debug({ resource: resource.plural }, "watch was silent for too long; watching again");
        } else log.warn({ resource: resource.plural, err: error }, "list or watch failed");
        // What a watch said before it broke is in the copy; the version to go on from is where it broke.
        if (version !== undefined) version = this.#version;
        waitMs = Math.max(backOff.nextMs(), isKubeError(error, "too-many-requests") ? (error.retryAfterMs ?? 0) : 0);
      }
      if (waitMs > 0) await wait(clock, waitMs, signal);
    }
  }

  #version: string | undefined;

  async #list(signal: AbortSignal): Promise<string> {
    const { kube, scope } = this.#options;
    const { items, resourceVersion } = await kube.list(this.#resource, scope, signal);
    this.#touch(resourceVersion);
    const listed = new Map(items.map((object) => [keyOf(object.metadata), object]));
    const changed: string[] = [];
    for (const key of [...this.#objects.keys()]) {
      if (listed.has(key)) continue;
      this.#put(key, undefined);
      changed.push(key);
    }
    for (const [key, object] of listed) {
      if (object instanceof Unreadable) {
        this.#warnOf(key, object);
        const other = this.#objects.get(key);
        if (other === undefined || other.metadata.uid === object.metadata.uid) continue;
        this.#put(key, undefined);
        changed.push(key);
        continue;
      }
      const known = this.#objects.get(key)?.metadata;
      if (known?.resourceVersion === object.metadata.resourceVersion && known.uid === object.metadata.uid) continue;
      this.#put(key, object);
      changed.push(key);
    }
    // The whole list is in before anybody hears of it, so that a handler never sees half of it.
    this.#isSynced = true;
    this.#firstSync.resolve();
    for (const key of changed) this.#tell(key);
    return resourceVersion;
  }

  /** Follows one watch to its end and gives the version to go on from. */
  async #watch(resourceVersion: string, signal: AbortSignal): Promise<string> {
    const { kube, scope } = this.#options;
    this.#version = resourceVersion;
    for await (const event of kube.watch(this.#resource, { ...scope, resourceVersion }, signal)) {
      if (event.type === "BOOKMARK") {
        this.#touch(event.resourceVersion);
        continue;
      }
      this.#touch(event.object.metadata.resourceVersion);
      const key = keyOf(event.object.metadata);
      if (event.type === "DELETED") this.#put(key, undefined);
      else if (event.object instanceof Unreadable) {
        this.#warnOf(key, event.object);
        continue;
      } else this.#put(key, event.object);
      this.#tell(key);
    }
    return this.#version;
  }

  #touch(version: string): void {
    this.#version = version;
    this.#lastContactMs = this.#options.clock.monotonicMs();
  }

  #warnOf(key: string, { error }: Unreadable): void {
    const { log, resource } = this.#options;
    log.error({ resource: resource.plural, key, err: error }, "an object cannot be read; the copy of it is out of date");
  }

  #put(key: string, object: T | undefined): void {
    const old = this.#objects.get(key);
    for (const { valuesOf, keysByValue } of this.#indexes) {
      for (const value of old === undefined ? [] : valuesOf(old)) {
        const keys = keysByValue.get(value);
        keys?.delete(key);
        if (keys?.size === 0) keysByValue.delete(value);
      }
      for (const value of object === undefined ? [] : valuesOf(object)) {
        const keys = keysByValue.get(value);
        if (keys === undefined) keysByValue.set(value, new Set([key]));
        else keys.add(key);
      }
    }
    if (object === undefined) this.#objects.delete(key);
    else this.#objects.set(key, object);
  }

  #tell(key: string): void {
    for (const handler of this.#handlers) {
      try {
        handler(key);
      } catch (error) {
        // One handler's mistake must not blind the others.
        this.#options.log.error({ resource: this.#options.resource.plural, key, err: error }, "handler of a change failed");
      }
    }
  }
}

/** An object whose metadata alone can be read. */
class Unreadable {
  readonly metadata: ObjectMeta;
  readonly error: KubeError;

  constructor(metadata: ObjectMeta, error: KubeError) {
    this.metadata = metadata;
    this.error = error;
  }
}

function parseOrTell<T>(resource: Resource<T>, raw: unknown): T | Unreadable {
  try {
    return resource.parse(raw);
  } catch (error) {
    const found = withMetadata.safeParse(raw);
    if (!isKubeError(error, "unexpected") || !found.success) throw error;
    return new Unreadable(found.data.metadata, error);
  }
}

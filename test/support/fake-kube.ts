import { isDeepStrictEqual } from "node:util";
import { isKubeError, KubeError } from "../../kube/errors.ts";
import type {
  Change as ObjectChange,
  CreateOptions,
  DeleteOptions,
  Kube,
  List,
  ListOptions,
  NewObject,
  ObjectRef,
  PatchOptions,
  Resource,
  WatchEvent,
} from "../../kube/kube.ts";
import {
  type Change,
  eventOf,
  finalizersOf,
  hasStatusSubresource,
  isInScope,
  keyOf,
  notFound,
  refOf,
  stripVersion,
  waitFor,
  withValue,
} from "./fake-kube-objects.ts";
import { applyPatch, jsonPatch, mergePatch } from "./fake-kube-patch.ts";
import { at, type Json, textAt } from "./fake-kube-selectors.ts";

export type Verb = "get" | "list" | "watch" | "create" | "patch" | "delete";

/** One call as it came in: tests count and read them. */
export interface FakeRequest {
  readonly verb: Verb;
  readonly plural: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly body?: unknown;
  readonly options?: unknown;
}

/** What is to go wrong, and where. */
export interface Failure {
  readonly verb?: Verb | undefined;
  readonly plural?: string | undefined;
  readonly name?: string | undefined;
  /** How often; once by default. */
  readonly times?: number | undefined;
  /** Thrown; where there is none, the call only waits for `until`. */
  readonly error?: KubeError | undefined;
  /** "after": the change is made first, and the caller is told that it failed. */
  readonly when?: "before" | "after" | undefined;
  /** The call waits for this before it goes on. */
  readonly until?: Promise<void> | undefined;
}

interface Watcher {
  readonly push: (change: Change | "bookmark" | "close" | KubeError) => void;
  readonly plural: string;
}

/**
 * An API server in memory that behaves: resource versions, UIDs, generations, 404 and 409, three kinds of patch, status
 * subresources, finalizers and graceful pod deletion, watches with bookmarks and 410. It checks no schema, asks for no
 * namespace to exist and authorises everything; the integration tests have a real one for that.
 */
export class FakeKube implements Kube {
  /** Every call so far, in order. */
  readonly requests: FakeRequest[] = [];
  readonly #objects = new Map<string, Json>();
  readonly #applied = new Map<string, Json>();
  readonly #answers = new Map<string, (body: Json) => unknown>();
  readonly #watchers = new Set<Watcher>();
  readonly #now: () => Date;
  #failures: { readonly failure: Failure; left: number }[] = [];
  #changes: Change[] = [];
  #version = 1;
  #oldestVersion = 0;
  #uids = 0;

  constructor({ now = () => new Date() }: { readonly now?: (() => Date) | undefined } = {}) {
    this.#now = now;
  }

  // For tests: the world outside.

  /** Puts an object in place as it is, status included, without a request; metadata is completed. Gives the stored JSON. */
  seed(resource: Resource<unknown>, body: NewObject): Json {
    const metadata = body.metadata as Json;
    const key = keyOf(resource, { namespace: textAt(metadata, "namespace"), name: String(metadata["name"]) });
    const before = this.#objects.get(key);
    const old = before?.["metadata"] as Json | undefined;
    return this.#store(resource, before, {
      ...(body as Json),
      metadata: { ...this.#newMeta(), ...(old && { uid: old["uid"], creationTimestamp: old["creationTimestamp"] }), ...metadata },
    });
  }

  /** The stored JSON, as the API server would send it. */
  peek(resource: Resource<unknown>, ref: ObjectRef): Json | undefined {
    return structuredClone(this.#objects.get(keyOf(resource, ref)));
  }

  /** Takes an object away at once, whatever its finalizers: what the kubelet does at the end of a pod. */
  remove(resource: Resource<unknown>, ref: ObjectRef): void {
    const before = this.#objects.get(keyOf(resource, ref));
    if (before !== undefined) this.#drop(resource, before);
  }

  /** The next matching call fails or waits. */
  fail(failure: Failure): void {
    this.#failures.push({ failure, left: failure.times ?? 1 });
  }

  /** Answers creates of a resource that is not stored, such as TokenReview, with what the function makes of the body. */
  answer(resource: Resource<unknown>, answer: (body: Json) => unknown): void {
    this.#answers.set(resource.plural, answer);
  }

  /** Forgets old versions, as etcd does every five minutes: a watch from one of them gets 410. */
  compact(): void {
    this.#oldestVersion = this.#version;
    this.#changes = [];
  }

  /** Sends a bookmark to every open watch. */
  bookmark(): void {
    for (const watcher of this.#watchers) watcher.push("bookmark");
  }

  /** Ends every open watch: in peace, as the server does now and then, or with an error. */
  endWatches(error?: KubeError): void {
    for (const watcher of this.#watchers) watcher.push(error ?? "close");
  }

  /** How many watches are open. */
  get openWatches(): number {
    return this.#watchers.size;
  }

  // Kube.

  async get<T>(resource: Resource<T>, ref: ObjectRef, signal?: AbortSignal): Promise<T> {
    return this.#call({ verb: "get", resource, ref, signal }, () => resource.parse(structuredClone(this.#mustFind(resource, ref))));
  }

  async list<T>(resource: Resource<T>, options: ListOptions = {}, signal?: AbortSignal): Promise<List<T>> {
    return this.#call({ verb: "list", resource, ref: options, options, signal }, () => ({
      items: this.#all(resource)
        .filter((object) => isInScope(object, options))
        .map((object) => resource.parse(structuredClone(object))),
      resourceVersion: String(this.#version),
    }));
  }

  async *watch<T>(
    resource: Resource<T>,
    from: ListOptions & { readonly resourceVersion: string },
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<T>> {
    await this.#call({ verb: "watch", resource, ref: from, options: from, signal }, () => undefined);
    const start = Number(from.resourceVersion);
    if (start < this.#oldestVersion)
      throw new KubeError("gone", `too old resource version: ${start} (${this.#oldestVersion})`, { reason: "Expired" });
    const queue: (Change | "bookmark" | "close" | KubeError)[] = this.#changes.filter(
      (change) => change.plural === resource.plural && change.version > start,
    );
    let wake = (): void => undefined;
    const watcher: Watcher = {
      plural: resource.plural,
      push: (item) => {
        queue.push(item);
        wake();
      },
    };
    const onAbort = (): void => wake();
    this.#watchers.add(watcher);
    signal.addEventListener("abort", onAbort);
    try {
      for (;;) {
        signal.throwIfAborted();
        const item = queue.shift();
        if (item === undefined) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        } else if (item === "close") return;
        else if (item instanceof KubeError) throw item;
        else if (item === "bookmark") yield { type: "BOOKMARK", resourceVersion: String(this.#version) };
        else {
          const event = eventOf(resource, item, from);
          if (event !== undefined) yield event;
        }
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#watchers.delete(watcher);
    }
  }

  async create<T>(resource: Resource<T>, body: NewObject, options: CreateOptions = {}, signal?: AbortSignal): Promise<T> {
    const sent = structuredClone<Json & NewObject>({ ...body });
    const name = textAt(sent, "metadata", "name") ?? `${textAt(sent, "metadata", "generateName") ?? ""}${this.#version}`;
    const ref = { namespace: textAt(sent, "metadata", "namespace"), name };
    return this.#call({ verb: "create", resource, ref, body: sent, options, signal }, () => {
      const answer = this.#answers.get(resource.plural);
      if (answer !== undefined) return resource.parse(answer(sent));
      if (this.#objects.has(keyOf(resource, ref)))
        throw new KubeError("already-exists", `${resource.plural} "${name}" already exists`, { reason: "AlreadyExists" });
      const { status: _, ...withoutStatus } = sent;
      const object = {
        ...(hasStatusSubresource(resource) ? withoutStatus : sent),
        metadata: { ...(sent["metadata"] as Json), name, ...this.#newMeta() },
      };
      return resource.parse(structuredClone(options.dryRun === true ? object : this.#store(resource, undefined, object)));
    });
  }

  async patch<T>(resource: Resource<T>, ref: ObjectRef, body: unknown, options: PatchOptions, signal?: AbortSignal): Promise<T> {
    const sent: unknown = structuredClone(body);
    return this.#call({ verb: "patch", resource, ref, body: sent, options, signal }, () => {
      const key = keyOf(resource, ref);
      const found = this.#objects.get(key);
      if (found === undefined && options.type !== "apply") throw notFound(resource, ref);
      const before = found ?? { metadata: { name: ref.name, ...(ref.namespace && { namespace: ref.namespace }), ...this.#newMeta() } };
      const patched = this.#patched(key, before, sent, options);
      for (const field of ["resourceVersion", "uid"]) {
        const wanted = textAt(patched, "metadata", field);
        if (found !== undefined && wanted !== undefined && wanted !== textAt(before, "metadata", field))
          throw new KubeError("conflict", `${resource.plural} "${ref.name}": the object has been modified`, { reason: "Conflict" });
      }
      return resource.parse(structuredClone(this.#update(resource, found, before, patched, options)));
    });
  }

  async delete(resource: Resource<unknown>, ref: ObjectRef, options: DeleteOptions = {}, signal?: AbortSignal): Promise<void> {
    return this.#call({ verb: "delete", resource, ref, options, signal }, () => {
      const before = this.#mustFind(resource, ref);
      if (options.uid !== undefined && options.uid !== textAt(before, "metadata", "uid"))
        throw new KubeError("conflict", `${resource.plural} "${ref.name}": the UID in the precondition is another one`, {
          reason: "Conflict",
        });
      const grace = resource.plural === "pods" && at(before, "spec", "nodeName") !== undefined ? (options.gracePeriodSeconds ?? 30) : 0;
      if (grace === 0 && finalizersOf(before).length === 0) return this.#drop(resource, before);
      const metadata = { deletionTimestamp: this.#now().toISOString(), ...(before["metadata"] as Json), deletionGracePeriodSeconds: grace };
      this.#store(resource, before, { ...before, metadata });
    });
  }

  async changeTogether(changes: readonly ObjectChange[], signal: AbortSignal): Promise<void> {
    for (const change of changes)
      try {
        if (change.do === "patch") await this.patch(change.resource, change.ref, change.body, change.options, signal);
        else await this.delete(change.resource, change.ref, {}, signal);
      } catch (error) {
        if (!isKubeError(error, "not-found")) throw error;
      }
  }

  // Inside.

  async #call<R>(
    call: {
      readonly verb: Verb;
      readonly resource: Resource<unknown>;
      readonly ref: Partial<ObjectRef>;
      readonly body?: unknown;
      readonly options?: unknown;
      readonly signal?: AbortSignal | undefined;
    },
    act: () => R,
  ): Promise<R> {
    const { verb, resource, ref, body, options, signal } = call;
    signal?.throwIfAborted();
    const request = { verb, plural: resource.plural, namespace: ref.namespace, name: ref.name, body, options };
    this.requests.push(request);
    const failure = this.#takeFailure(request);
    if (failure?.until !== undefined) await waitFor(failure.until, signal);
    if (failure?.error !== undefined && failure.when !== "after") throw failure.error;
    const result = act();
    if (failure?.error !== undefined) throw failure.error;
    return result;
  }

  #takeFailure({ verb, plural, name }: FakeRequest): Failure | undefined {
    const entry = this.#failures.find(
      ({ failure }) => (failure.verb ?? verb) === verb && (failure.plural ?? plural) === plural && (failure.name ?? name) === name,
    );
    if (entry === undefined) return undefined;
    entry.left -= 1;
    if (entry.left <= 0) this.#failures = this.#failures.filter((other) => other !== entry);
    return entry.failure;
  }

  #newMeta(): Json {
    this.#uids += 1;
    return {
      uid: `00000000-0000-4000-8000-${String(this.#uids).padStart(12, "0")}`,
      creationTimestamp: `${this.#now().toISOString().slice(0, 19)}Z`,
      generation: 1,
    };
  }

  #patched(key: string, before: Json, sent: unknown, options: PatchOptions): Json {
    switch (options.type) {
      case "merge":
        return mergePatch(before, sent) as Json;
      case "json":
        return jsonPatch(before, sent);
      case "apply": {
        if (options.fieldManager === undefined)
          throw new KubeError("invalid", "fieldManager is required for apply patch", { reason: "BadRequest" });
        const managed = `${key} ${options.fieldManager} ${options.subresource ?? ""}`;
        const result = applyPatch(before, this.#applied.get(managed), sent as Json);
        this.#applied.set(managed, sent as Json);
        return result;
      }
    }
  }

  #update(resource: Resource<unknown>, found: Json | undefined, before: Json, patched: Json, options: PatchOptions): Json {
    const keepsStatusApart = hasStatusSubresource(resource);
    const metadata = patched["metadata"] as Json;
    const old = before["metadata"] as Json;
    const frozen = Object.fromEntries(
      ["uid", "creationTimestamp", "deletionTimestamp", "generation", "name", "namespace"].flatMap((field) =>
        field in old ? [[field, old[field]]] : [],
      ),
    );
    const whole =
      options.subresource === "status"
        ? withValue(before, "status", patched["status"])
        : { ...(keepsStatusApart ? withValue(patched, "status", before["status"]) : patched), metadata: { ...metadata, ...frozen } };
    if (found !== undefined && isDeepStrictEqual(stripVersion(found), stripVersion(whole))) return found;
    const isDeleting = "deletionTimestamp" in old;
    if (isDeleting && finalizersOf(before).length > 0 && finalizersOf(whole).length === 0) {
      this.#drop(resource, whole);
      return whole;
    }
    const { metadata: _m, status: _s, ...specBefore } = before;
    const { metadata: _n, status: _t, ...specAfter } = whole;
    const isNewGeneration = found !== undefined && !isDeepStrictEqual(specBefore, specAfter);
    const after = isNewGeneration
      ? { ...whole, metadata: { ...(whole["metadata"] as Json), generation: Number(old["generation"] ?? 0) + 1 } }
      : whole;
    return this.#store(resource, found, after);
  }

  #all(resource: Resource<unknown>): readonly Json[] {
    const prefix = keyOf(resource, { name: "" }).slice(0, -1);
    return [...this.#objects].filter(([key]) => key.startsWith(prefix)).map(([, object]) => object);
  }

  #mustFind(resource: Resource<unknown>, ref: ObjectRef): Json {
    const found = this.#objects.get(keyOf(resource, ref));
    if (found === undefined) throw notFound(resource, ref);
    return found;
  }

  #store(resource: Resource<unknown>, before: Json | undefined, object: Json): Json {
    const { apiVersion, kind, ...rest } = structuredClone(object);
    this.#version += 1;
    const after: Json = {
      apiVersion: apiVersion ?? (resource.group === "" ? resource.version : `${resource.group}/${resource.version}`),
      kind: kind ?? resource.kind,
      ...rest,
      metadata: { ...(rest["metadata"] as Json), resourceVersion: String(this.#version) },
    };
    this.#objects.set(keyOf(resource, refOf(after)), after);
    this.#publish({ version: this.#version, plural: resource.plural, before, after });
    return after;
  }

  #drop(resource: Resource<unknown>, object: Json): void {
    this.#version += 1;
    this.#objects.delete(keyOf(resource, refOf(object)));
    const before = { ...object, metadata: { ...(object["metadata"] as Json), resourceVersion: String(this.#version) } };
    this.#publish({ version: this.#version, plural: resource.plural, before, after: undefined });
  }

  #publish(change: Change): void {
    this.#changes.push(change);
    for (const watcher of this.#watchers) if (watcher.plural === change.plural) watcher.push(change);
  }
}

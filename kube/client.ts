import * as z from "zod";
import { type Clock, systemClock } from "../common/clock.ts";
import { type CredentialOptions, CredentialSource } from "./credentials.ts";
import { errorOfStatus, isKubeError, KubeError } from "./errors.ts";
import type {
  Change,
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
} from "./kube.ts";
import { type RawRequest, type RawStream, Transport } from "./transport.ts";

export interface ConnectOptions extends CredentialOptions {
  /** Name of the process, for the user agent and the field manager: "controller". */
  readonly process: string;
  readonly version: string;
  readonly clock?: Clock | undefined;
  readonly requestTimeoutMs?: number | undefined;
  /** After this long the server ends a watch. */
  readonly watchSeconds?: number | undefined;
  /** A watch that says nothing for so long is given up; bookmarks come about once a minute. */
  readonly watchSilenceMs?: number | undefined;
}

/** A Kube that holds connections until it is closed. */
export interface KubeConnection extends Kube {
  /** Of the API server: `{ major: 1, minor: 34 }`; undefined where it calls itself something else. */
  serverVersion(signal?: AbortSignal): Promise<{ readonly major: number | undefined; readonly minor: number | undefined }>;
  /** Breaks off what is under way. */
  close(): Promise<void>;
}

const PAGE_SIZE = 500;

const PATCH_TYPES = {
  merge: "application/merge-patch+json",
  json: "application/json-patch+json",
  apply: "application/apply-patch+yaml",
} as const;

const listSchema = z.object({
  metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }),
  items: z
    .array(z.unknown())
    .nullish()
    .transform((items) => items ?? []),
});

const versionSchema = z.object({ major: z.string(), minor: z.string() });
const eventSchema = z.object({ type: z.enum(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]), object: z.unknown() });
const bookmarkSchema = z.object({ metadata: z.object({ resourceVersion: z.string() }) });

/** Connects to an API server as the credentials say; nothing is sent before the first call. */
export function connectKube(options: ConnectOptions): KubeConnection {
  const clock = options.clock ?? systemClock;
  return new Client(
    new Transport({
      credentials: new CredentialSource(options, clock),
      clock,
      userAgent: `squall-${options.process}/${options.version}`,
      requestTimeoutMs: options.requestTimeoutMs ?? 30_000,
      streamSilenceMs: options.watchSilenceMs ?? 90_000,
    }),
    options.watchSeconds ?? 290,
  );
}

class Client implements KubeConnection {
  readonly #transport: Transport;
  readonly #watchSeconds: number;

  constructor(transport: Transport, watchSeconds: number) {
    this.#transport = transport;
    this.#watchSeconds = watchSeconds;
  }

  async get<T>(resource: Resource<T>, ref: ObjectRef, signal?: AbortSignal): Promise<T> {
    return resource.parse(await this.#transport.call({ method: "GET", path: objectPath(resource, ref) }, signal));
  }

  async list<T>(resource: Resource<T>, options: ListOptions = {}, signal?: AbortSignal): Promise<List<T>> {
    try {
      return await this.#listPages(resource, options, signal);
    } catch (error) {
      // A list that took longer than the server remembers cannot be continued, only started again.
      if (!isKubeError(error, "gone")) throw error;
      return this.#listPages(resource, options, signal);
    }
  }

  async #listPages<T>(resource: Resource<T>, options: ListOptions, signal: AbortSignal | undefined): Promise<List<T>> {
    const items: T[] = [];
    let token: string | undefined;
    for (;;) {
      const query = { ...selectorsOf(options), limit: String(PAGE_SIZE), ...(token !== undefined && { continue: token }) };
      const path = `${collectionPath(resource, options.namespace)}?${new URLSearchParams(query).toString()}`;
      const page = parseAnswer(listSchema, await this.#transport.call({ method: "GET", path }, signal), path);
      for (const item of page.items) items.push(resource.parse(item));
      token = page.metadata.continue;
      if (token === undefined || token === "") return { items, resourceVersion: page.metadata.resourceVersion };
    }
  }

  async *watch<T>(
    resource: Resource<T>,
    from: ListOptions & { readonly resourceVersion: string },
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<T>> {
    const query = new URLSearchParams({
      ...selectorsOf(from),
      watch: "true",
      allowWatchBookmarks: "true",
      resourceVersion: from.resourceVersion,
      timeoutSeconds: String(this.#watchSeconds),
    });
    const path = `${collectionPath(resource, from.namespace)}?${query.toString()}`;
    const stream = await this.#transport.open({ method: "GET", path }, signal);
    try {
      for await (const line of linesOf(stream)) yield parseEvent(resource, path, line);
    } finally {
      stream.close();
    }
  }

  async create<T>(resource: Resource<T>, body: NewObject, options: CreateOptions = {}, signal?: AbortSignal): Promise<T> {
    const namespace = z.object({ namespace: z.string().optional() }).parse(body.metadata).namespace;
    if (resource.isNamespaced && namespace === undefined)
      throw new KubeError("invalid", `A ${resource.kind} without a namespace cannot be created.`);
    const path = `${collectionPath(resource, namespace)}${options.dryRun === true ? "?dryRun=All" : ""}`;
    return resource.parse(await this.#transport.call({ method: "POST", path, body: withType(resource, body) }, signal));
  }

  async patch<T>(resource: Resource<T>, ref: ObjectRef, body: unknown, options: PatchOptions, signal?: AbortSignal): Promise<T> {
    return resource.parse(await this.#transport.call(patchRequest(resource, ref, body, options), signal));
  }

  async delete(resource: Resource<unknown>, ref: ObjectRef, options: DeleteOptions = {}, signal?: AbortSignal): Promise<void> {
    await this.#transport.call(deleteRequest(resource, ref, options), signal);
  }

  async changeTogether(changes: readonly Change[], signal: AbortSignal): Promise<void> {
    const requests = changes.map((change) =>
      change.do === "patch"
        ? patchRequest(change.resource, change.ref, change.body, change.options)
        : deleteRequest(change.resource, change.ref, {}),
    );
    await this.#transport.together(requests, signal);
  }

  async serverVersion(signal?: AbortSignal): Promise<{ readonly major: number | undefined; readonly minor: number | undefined }> {
    const { major, minor } = parseAnswer(
      versionSchema,
      await this.#transport.call({ method: "GET", path: "/version" }, signal),
      "/version",
    );
    // Some providers add a plus sign.
    const number = (text: string): number | undefined => (/^\d+\+?$/.test(text) ? Number.parseInt(text, 10) : undefined);
    return { major: number(major), minor: number(minor) };
  }

  close(): Promise<void> {
    return this.#transport.close();
  }
}

const apiVersionOf = ({ group, version }: Resource<unknown>): string => (group === "" ? version : `${group}/${version}`);

const withType = (resource: Resource<unknown>, body: object): object => ({
  apiVersion: apiVersionOf(resource),
  kind: resource.kind,
  ...body,
});

function collectionPath(resource: Resource<unknown>, namespace: string | undefined): string {
  const root = `${resource.group === "" ? "/api" : "/apis"}/${apiVersionOf(resource)}`;
  const scope = resource.isNamespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : "";
  return `${root}${scope}/${resource.plural}`;
}

/** Throws where a part is missing: without its name, the path of an object is the path of all objects. */
function objectPath(resource: Resource<unknown>, { namespace, name }: ObjectRef): string {
  if (name === "") throw new KubeError("invalid", `A ${resource.kind} without a name was asked for.`);
  if (resource.isNamespaced && (namespace ?? "") === "")
    throw new KubeError("invalid", `${resource.kind} ${name} was asked for without its namespace.`);
  return `${collectionPath(resource, namespace)}/${encodeURIComponent(name)}`;
}

function patchRequest(
  resource: Resource<unknown>,
  ref: ObjectRef,
  body: unknown,
  { type, subresource, fieldManager, force }: PatchOptions,
): RawRequest {
  const query = new URLSearchParams({ ...(fieldManager !== undefined && { fieldManager }), ...(force === true && { force: "true" }) });
  const path = `${objectPath(resource, ref)}${subresource === undefined ? "" : `/${subresource}`}${query.size === 0 ? "" : `?${query.toString()}`}`;
  const sent = type === "apply" && typeof body === "object" && body !== null ? withType(resource, body) : body;
  return { method: "PATCH", path, body: sent, contentType: PATCH_TYPES[type] };
}

function deleteRequest(resource: Resource<unknown>, ref: ObjectRef, { gracePeriodSeconds, uid }: DeleteOptions): RawRequest {
  const body = {
    apiVersion: "v1",
    kind: "DeleteOptions",
    propagationPolicy: "Background",
    ...(gracePeriodSeconds !== undefined && { gracePeriodSeconds }),
    ...(uid !== undefined && { preconditions: { uid } }),
  };
  return { method: "DELETE", path: objectPath(resource, ref), body };
}

function selectorsOf({ labelSelector, fieldSelector }: ListOptions): Record<string, string> {
  return { ...(labelSelector !== undefined && { labelSelector }), ...(fieldSelector !== undefined && { fieldSelector }) };
}

function parseAnswer<S extends z.ZodType>(schema: S, raw: unknown, path: string): z.output<S> {
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  throw new KubeError("unexpected", `${path} was answered with something that Kubernetes does not document.`, { cause: result.error });
}

/** Lines of a stream. A line may come in many pieces, so the pieces are joined once it is complete. */
async function* linesOf(stream: RawStream): AsyncIterable<string> {
  let pieces: Buffer[] = [];
  for await (const chunk of stream) {
    let start = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      pieces.push(chunk.subarray(start, end));
      yield Buffer.concat(pieces).toString();
      pieces = [];
      start = end + 1;
    }
    if (start < chunk.length) pieces.push(chunk.subarray(start));
  }
}

function parseEvent<T>(resource: Resource<T>, path: string, line: string): WatchEvent<T> {
  let raw: unknown;
  try {
    raw = JSON.parse(line);
  } catch (cause) {
    throw new KubeError("unexpected", `The watch of ${path} sent something other than JSON.`, { cause });
  }
  const { type, object } = parseAnswer(eventSchema, raw, path);
  switch (type) {
    case "ERROR":
      throw errorOfStatus(`The watch of ${path}`, object);
    case "BOOKMARK":
      return { type, resourceVersion: parseAnswer(bookmarkSchema, object, path).metadata.resourceVersion };
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
      return { type, object: resource.parse(object) };
  }
}

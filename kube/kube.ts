/** What the rest of Squall may ask of an API server; `kube/client.ts` has the real one, `test/support/fake-kube.ts` a fake that behaves. */

/** A kind of object as the API server serves it, with the parser that turns what came over the wire into `T`. */
export interface Resource<T> {
  /** "" for the core group. */
  readonly group: string;
  readonly version: string;
  /** As in the URL: "pods". */
  readonly plural: string;
  readonly kind: string;
  readonly isNamespaced: boolean;
  /** Throws on an object that the API server could not have sent. Keeps only the fields that Squall reads, so caches stay small. */
  parse(raw: unknown): T;
}

export interface OwnerReference {
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  /** Of several owners one manages the object. */
  readonly controller?: boolean | undefined;
}

export interface ObjectMeta {
  readonly name: string;
  /** Absent on cluster-scoped objects. */
  readonly namespace?: string | undefined;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly generation?: number | undefined;
  /** RFC 3339. */
  readonly creationTimestamp: string;
  /** Present while the object is being deleted. */
  readonly deletionTimestamp?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly finalizers?: readonly string[] | undefined;
  readonly ownerReferences?: readonly OwnerReference[] | undefined;
}

export interface KubeObject {
  readonly metadata: ObjectMeta;
}

export interface ObjectRef {
  readonly namespace?: string | undefined;
  readonly name: string;
}

export interface ListOptions {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface List<T> {
  readonly items: readonly T[];
  readonly resourceVersion: string;
}

export type WatchEvent<T> =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: T }
  /** Nothing changed up to this version. */
  | { readonly type: "BOOKMARK"; readonly resourceVersion: string };

export interface PatchOptions {
  /** How the body is read; see https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply. */
  readonly type: "merge" | "json" | "apply";
  readonly subresource?: "status" | undefined;
  /** Who owns the fields; required by "apply". */
  readonly fieldManager?: string | undefined;
  /** For "apply": take fields over from other managers. */
  readonly force?: boolean | undefined;
}

export interface CreateOptions {
  readonly dryRun?: boolean | undefined;
}

export interface DeleteOptions {
  readonly gracePeriodSeconds?: number | undefined;
  /** Refused with a conflict when the object of that name has another UID. */
  readonly uid?: string | undefined;
}

/** What is sent to be created: JSON with metadata. */
export interface NewObject {
  readonly metadata: object;
  readonly [field: string]: unknown;
}

/** A change that is made together with others. */
export type Change =
  | {
      readonly do: "patch";
      readonly resource: Resource<unknown>;
      readonly ref: ObjectRef;
      readonly body: unknown;
      readonly options: PatchOptions;
    }
  | { readonly do: "delete"; readonly resource: Resource<unknown>; readonly ref: ObjectRef };

/**
 * Every call throws a KubeError (`kube/errors.ts`) when the API server refuses or cannot be reached, and the signal's
 * reason when it is aborted. Lists are read in pages, watches ask for bookmarks.
 */
export interface Kube {
  get<T>(resource: Resource<T>, ref: ObjectRef, signal?: AbortSignal): Promise<T>;
  list<T>(resource: Resource<T>, options?: ListOptions, signal?: AbortSignal): Promise<List<T>>;
  /** Ends without an error when the server closes the watch; throws KubeError "gone" (410) when `resourceVersion` is too old. */
  watch<T>(
    resource: Resource<T>,
    from: ListOptions & { readonly resourceVersion: string },
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<T>>;
  create<T>(resource: Resource<T>, body: NewObject, options?: CreateOptions, signal?: AbortSignal): Promise<T>;
  patch<T>(resource: Resource<T>, ref: ObjectRef, body: unknown, options: PatchOptions, signal?: AbortSignal): Promise<T>;
  delete(resource: Resource<unknown>, ref: ObjectRef, options?: DeleteOptions, signal?: AbortSignal): Promise<void>;
  /**
   * Makes changes in this order, none of which is begun before the API server has let all of them in: one may take away the right to make
   * the next. What is not there any more counts as done. Ends at the first failure.
   */
  changeTogether(changes: readonly Change[], signal: AbortSignal): Promise<void>;
}

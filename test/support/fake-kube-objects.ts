import { KubeError } from "../../kube/errors.ts";
import type { ListOptions, ObjectRef, Resource, WatchEvent } from "../../kube/kube.ts";
import { at, isSelected, type Json, textAt } from "./fake-kube-selectors.ts";

/** What `FakeKube` needs to know about the JSON of objects. */

/** One change of one object, as watches hear of it. */
export interface Change {
  readonly version: number;
  readonly plural: string;
  readonly before: Json | undefined;
  readonly after: Json | undefined;
}

export function keyOf(resource: Resource<unknown>, ref: ObjectRef): string {
  return `${resource.group}/${resource.plural}/${resource.isNamespaced ? (ref.namespace ?? "") : ""}/${ref.name}`;
}

export const refOf = (object: Json): ObjectRef => ({
  namespace: textAt(object, "metadata", "namespace"),
  name: textAt(object, "metadata", "name") ?? "",
});

export const finalizersOf = (object: Json): readonly unknown[] => {
  const found = at(object, "metadata", "finalizers");
  return Array.isArray(found) ? found : [];
};

export function withValue(object: Json, key: string, value: unknown): Json {
  const { [key]: _, ...rest } = object;
  return value === undefined ? rest : { ...rest, [key]: value };
}

export const stripVersion = (object: Json): Json => ({
  ...object,
  metadata: withValue(object["metadata"] as Json, "resourceVersion", undefined),
});

export const isInScope = (object: Json, options: ListOptions): boolean =>
  (options.namespace === undefined || textAt(object, "metadata", "namespace") === options.namespace) && isSelected(object, options);

/** What a watch with these selectors says of a change: an object that no longer matches is deleted for it. */
export function eventOf<T>(resource: Resource<T>, { version, before, after }: Change, options: ListOptions): WatchEvent<T> | undefined {
  const was = before !== undefined && isInScope(before, options);
  const is = after !== undefined && isInScope(after, options);
  const parse = (object: Json): T =>
    resource.parse(structuredClone({ ...object, metadata: { ...(object["metadata"] as Json), resourceVersion: String(version) } }));
  if (is) return { type: was ? "MODIFIED" : "ADDED", object: parse(after) };
  return was ? { type: "DELETED", object: parse(after ?? before) } : undefined;
}

export function notFound(resource: Resource<unknown>, ref: ObjectRef): KubeError {
  return new KubeError("not-found", `${resource.plural} "${ref.name}" not found`, { reason: "NotFound" });
}

export async function waitFor(promise: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return promise;
  await new Promise<void>((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

/** Where the API server keeps status apart, so that a write to the object leaves it alone and the other way round. */
export const hasStatusSubresource = (resource: Resource<unknown>): boolean =>
  resource.group.includes("chaos-mesh.org") ||
  resource.group === "squall.dev" ||
  ["pods", "nodes", "namespaces", "services", "deployments", "daemonsets"].includes(resource.plural);

import jsonpatch from "fast-json-patch";
import { KubeError } from "../../kube/errors.ts";
import type { Json } from "./fake-kube-selectors.ts";

/** The three ways in which the API server reads a patch, for `FakeKube`. */

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);

/** RFC 7386. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const result: Record<string, unknown> = { ...(isObject(target) ? target : {}) };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else if (value !== undefined) result[key] = mergePatch(result[key], value);
  }
  return result;
}

/** RFC 6902; a failed `test` is an invalid request, as at the API server. */
export function jsonPatch(target: Json, operations: unknown): Json {
  if (!Array.isArray(operations)) throw new KubeError("invalid", "A JSON patch is a list of operations.", { reason: "BadRequest" });
  try {
    return jsonpatch.applyPatch(structuredClone(target), operations, true).newDocument;
  } catch (cause) {
    throw new KubeError("invalid", `The JSON patch does not apply: ${String(cause)}`, { reason: "Invalid", cause });
  }
}

/** Keys by which the API server merges lists of maps, where it does. */
const MERGE_KEYS = ["type", "name", "uid", "ip"] as const;

/**
 * Server-side apply, near enough for tests: objects merge, lists of maps merge by the first key that all items have, other
 * lists are replaced, and fields that the same manager applied before and leaves out now go away.
 */
export function applyPatch(target: Json, previous: Json | undefined, applied: Json): Json {
  const withoutDropped = previous === undefined ? target : dropFields(target, previous, applied);
  return mergeApplied(withoutDropped, applied) as Json;
}

function mergeApplied(target: unknown, applied: unknown): unknown {
  if (Array.isArray(applied)) {
    const key = mergeKeyOf(applied);
    if (key === undefined || !Array.isArray(target)) return applied;
    const kept = target.filter(isObject).map((item) => {
      const match = applied.find((candidate: Json) => candidate[key] === item[key]);
      return match === undefined ? item : mergeApplied(item, match);
    });
    const added = applied.filter((item: Json) => !target.some((old) => isObject(old) && old[key] === item[key]));
    return [...kept, ...added];
  }
  if (!isObject(applied)) return applied;
  const result: Record<string, unknown> = { ...(isObject(target) ? target : {}) };
  for (const [key, value] of Object.entries(applied)) result[key] = mergeApplied(result[key], value);
  return result;
}

function mergeKeyOf(items: readonly unknown[]): string | undefined {
  if (items.length === 0 || !items.every(isObject)) return undefined;
  return MERGE_KEYS.find((key) => items.every((item) => typeof item[key] === "string"));
}

function dropFields(target: Json, previous: Json, applied: Json): Json {
  const result: Record<string, unknown> = { ...target };
  for (const [key, before] of Object.entries(previous)) {
    const now = applied[key];
    const value = result[key];
    if (now === undefined) delete result[key];
    else if (isObject(before) && isObject(now) && isObject(value)) result[key] = dropFields(value, before, now);
  }
  return result;
}

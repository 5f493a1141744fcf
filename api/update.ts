import type { FieldError } from "./field-error.ts";
import { isEquivalent, isJsonObject } from "./json.ts";
import { formatPath } from "./schema-errors.ts";
import { show } from "./text.ts";

/** Beginning of every refusal to change a spec; scripts made for Chaos Mesh look for it. */
export const UPDATE_REFUSAL = "Cannot update chaos spec";

/** Which members of a spec differ; absent and empty are the same. Only the kinds whose `mayChange` says so may change. */
export function compareSpecs(before: unknown, after: unknown): readonly FieldError[] {
  return differences(before, after, []);
}

function differences(before: unknown, after: unknown, path: readonly PropertyKey[]): readonly FieldError[] {
  if (isEquivalent(before, after)) return [];
  if (isJsonObject(before) && isJsonObject(after)) {
    return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((key) =>
      differences(before[key], after[key], [...path, key]),
    );
  }
  return [
    {
      path: formatPath("spec", path),
      message: `was ${show(before)} and cannot become ${show(after)}. Delete the object and create it anew.`,
    },
  ];
}

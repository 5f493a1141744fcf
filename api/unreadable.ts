import type { FieldError } from "./field-error.ts";
import { isJsonObject } from "./json.ts";
import { formatPath } from "./schema-errors.ts";

/** No object of ours is nested half as deep. */
const DEEPEST = 100;
const MOST_TOLD = 20;

/**
 * What no rule can be asked about: a member named __proto__, which JavaScript and its libraries take for something else and leave out
 * without a word, and nesting that would be too much for them. Paths begin at the root of the object.
 */
export function findUnreadable(object: object): readonly FieldError[] {
  return unreadableIn(object, 0)
    .slice(0, MOST_TOLD)
    .map(({ place: [root = "", ...place], message }) => ({ path: formatPath(String(root), place), message }));
}

interface Unreadable {
  readonly place: readonly (string | number)[];
  readonly message: string;
}

function unreadableIn(value: unknown, depth: number): readonly Unreadable[] {
  if (typeof value !== "object" || value === null) return [];
  if (depth > DEEPEST) return [{ place: [], message: `is nested more than ${DEEPEST} levels deep. Nothing that is known here is.` }];
  if (Array.isArray(value)) return value.flatMap((item: unknown, index) => within(index, unreadableIn(item, depth + 1)));
  if (!isJsonObject(value)) return [];
  return Object.keys(value).flatMap((key) => {
    if (key === "__proto__") return [{ place: [key], message: "cannot be the name of anything. Leave it out." }];
    return within(key, unreadableIn(value[key], depth + 1));
  });
}

const within = (key: string | number, found: readonly Unreadable[]): readonly Unreadable[] =>
  found.length === 0 ? found : found.map(({ place, message }) => ({ place: [key, ...place], message }));

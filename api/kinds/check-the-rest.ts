import type { z } from "zod";
import type { FieldError } from "../field-error.ts";
import { isJsonObject } from "../json.ts";
import type { Rule } from "../rule.ts";

/** The rules across fields for a spec that breaks its schema, so that a user hears of all mistakes at once. */

type Place = readonly PropertyKey[];

/** For each list that lost entries, where those that stayed stood before. */
type Origins = WeakMap<readonly unknown[], readonly number[]>;

const MOST_ROUNDS = 8;

/**
 * Takes out what is wrong, and what needs it, until the rest holds, and asks the rules about that. What they say about a part that was
 * taken out, about what held it, or after a look at a member that is gone is left out: `known` has the reason already. So are rules about
 * the spec as a whole.
 */
export function checkTheRest<S extends z.ZodType>(
  { schema, rules }: { readonly schema: S; readonly rules: readonly Rule<z.output<S>>[] },
  spec: unknown,
  known: readonly FieldError[],
): readonly FieldError[] {
  let rest = spec;
  const origins: Origins = new WeakMap();
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const parsed = schema.safeParse(rest);
    if (parsed.success) {
      const gone = lostMembers(spec, rest);
      return rules
        .filter(({ isOfWhole }) => isOfWhole !== true)
        .flatMap((rule) => violationsWithout(gone, rule, parsed.data))
        .map(({ path, message }) => ({ path: asWritten(path, rest, origins), message }))
        .filter(({ path }) => !known.some((error) => isWithin(error.path, path) || (path !== "spec" && isWithin(path, error.path))));
    }
    const places = parsed.error.issues
      .flatMap((issue): readonly Place[] =>
        issue.code === "unrecognized_keys" ? issue.keys.map((key) => [...issue.path, key]) : [issue.path],
      )
      .flatMap((place) => existing(rest, place));
    if (places.length === 0) return [];
    rest = without(rest, places, origins);
  }
  return [];
}

/** Members that are gone, and lists that lost all of their entries. */
function lostMembers(spec: unknown, rest: unknown): readonly string[] {
  if (!isJsonObject(spec) || !isJsonObject(rest)) return [];
  const isEmptied = (before: unknown, after: unknown): boolean =>
    Array.isArray(before) && before.length > 0 && Array.isArray(after) && after.length === 0;
  return Object.keys(spec).filter((name) => !Object.hasOwn(rest, name) || isEmptied(spec[name], rest[name]));
}

/** What a rule says of a spec that lost some members; nothing where it looked at one of those. */
function violationsWithout<Spec>(gone: readonly string[], rule: Rule<Spec>, spec: Spec): readonly FieldError[] {
  if (gone.length === 0 || typeof spec !== "object" || spec === null) return rule.violations(spec);
  const seen = new Set<PropertyKey>();
  const watched = new Proxy(spec, {
    get(target, name, receiver): unknown {
      seen.add(name);
      return Reflect.get(target, name, receiver);
    },
  });
  const found = rule.violations(watched);
  return gone.some((name) => seen.has(name)) ? [] : found;
}

/** Whether a path is that of the part or leads into it: `spec.a.b` and `spec.a[0]` lead into `spec.a`, `spec.ab` does not. */
const isWithin = (part: string, path: string): boolean => path === part || (path.startsWith(part) && /^[.[]/.test(path.slice(part.length)));

/** The place, or the nearest one around it where something is; none where that is the whole. */
function existing(value: unknown, place: Place): readonly Place[] {
  let depth = 0;
  for (let holder = value; depth < place.length; depth++) {
    holder = memberAt(holder, place[depth] ?? "");
    if (holder === undefined) break;
  }
  return depth === 0 ? [] : [place.slice(0, depth)];
}

function memberAt(holder: unknown, key: PropertyKey): unknown {
  if (typeof holder !== "object" || holder === null || !Object.hasOwn(holder, key)) return undefined;
  return (holder as Readonly<Record<PropertyKey, unknown>>)[key];
}

function without(value: unknown, places: readonly Place[], origins: Origins): unknown {
  const inside = new Map<PropertyKey, Place[]>();
  for (const [key, ...deeper] of places) {
    if (key === undefined) continue;
    const others = inside.get(key);
    if (others) others.push(deeper);
    else inside.set(key, [deeper]);
  }
  const kept = (key: PropertyKey, member: unknown): readonly unknown[] => {
    const deeper = inside.get(key) ?? [];
    if (deeper.length === 0) return [member];
    return deeper.some(({ length }) => length === 0) ? [] : [without(member, deeper, origins)];
  };
  if (Array.isArray(value)) {
    const before = origins.get(value);
    const entries = value.flatMap((item: unknown, index) =>
      kept(index, item).map((member) => ({ member, origin: before?.[index] ?? index })),
    );
    const list = entries.map(({ member }) => member);
    origins.set(
      list,
      entries.map(({ origin }) => origin),
    );
    return list;
  }
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(Object.entries(value).flatMap(([key, member]) => kept(key, member).map((changed) => [key, changed])));
}

const STEP = /\.([A-Za-z_][A-Za-z0-9_-]*)|\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]/y;

/** A path into the rest as a path into what the user wrote: lists had their entries elsewhere there. */
function asWritten(path: string, rest: unknown, origins: Origins): string {
  const root = "spec";
  let written = root;
  let holder = rest;
  STEP.lastIndex = root.length;
  for (let end = root.length; end < path.length; end = STEP.lastIndex) {
    const step = STEP.exec(path);
    if (step === null) return `${written}${path.slice(end)}`;
    const [text, name, index, quoted = '""'] = step;
    const origin = index !== undefined && Array.isArray(holder) ? origins.get(holder)?.[Number(index)] : undefined;
    written += origin === undefined ? text : `[${origin}]`;
    holder = memberAt(holder, name ?? index ?? (JSON.parse(quoted) as string));
  }
  return written;
}

import type { z } from "zod";
import { groups } from "../../common/names.ts";
import type { FieldError } from "../field-error.ts";
import { isJsonObject, type JsonObject, withoutNulls } from "../json.ts";
import type { Rule } from "../rule.ts";
import { explainIssues } from "../schema-errors.ts";
import { statusSchema } from "../status.ts";
import type { EmbeddedSpec, ExperimentDefinition, KindDefinition, Touch } from "./definition.ts";
import { findNotYet } from "./not-yet.ts";

export type Judged<Spec> =
  | {
      readonly ok: true;
      /** The object with every default filled in. */
      readonly object: JsonObject;
      readonly spec: Spec;
      /** What this version cannot carry out; empty for an object that takes effect. */
      readonly unsupported: readonly FieldError[];
      /** What the object does, in one sentence. */
      readonly explanation: string;
      readonly touches: readonly Touch[];
      readonly embedded: readonly EmbeddedSpec[];
    }
  | { readonly ok: false; readonly errors: readonly FieldError[] };

/** A definition that can judge any object, so that shared code may call a kind without knowing which one it holds. */
export interface Kind<S extends z.ZodType> extends KindDefinition<S> {
  /** Checks a whole object as a user wrote it, in the namespace it is to live in. Reports all mistakes together; never throws. */
  judge(raw: unknown, around: { readonly namespace: string }): Judged<z.output<S>>;
  /** The spec of an object from the API server, which admission has judged before. Throws on one that it would refuse. */
  parseSpec(raw: unknown, around: { readonly namespace: string }): z.output<S>;
}

export interface ExperimentKind<S extends z.ZodType> extends Kind<S>, ExperimentDefinition<S> {}

/** What all experiments have in common beside their definitions. */
export function defineExperiment<S extends z.ZodType>(definition: ExperimentDefinition<S>): ExperimentKind<S> {
  const condition = (type: string): string => `.status.conditions[?(@.type=="${type}")].status`;
  const kind = defineKind<S>({
    ...definition,
    group: groups.chaos,
    singular: definition.plural,
    shortNames: [],
    scope: "Namespaced",
    description: `${definition.kind} is an experiment: which targets, what happens to them, for how long.`,
    columns: [
      ...definition.columns,
      { name: "injected", jsonPath: condition("AllInjected") },
      { name: "recovered", jsonPath: condition("AllRecovered") },
    ],
    status: statusSchema,
    mayChange: false,
    madeBy: "anyone",
    embedded: () => [],
  });
  return { ...definition, ...kind };
}

export function defineKind<S extends z.ZodType>(definition: KindDefinition<S>): Kind<S> {
  const judge: Kind<S>["judge"] = (raw, { namespace }) => {
    if (!isJsonObject(raw)) return { ok: false, errors: [{ path: definition.kind, message: "is no object." }] };
    const object = withoutNulls(raw);
    const written = isJsonObject(object) ? (object["spec"] ?? {}) : {};
    const spec = isJsonObject(written) ? definition.prepare(written, namespace) : written;
    const parsed = definition.schema.safeParse(spec);
    if (!parsed.success) {
      const errors = explainIssues(parsed.error.issues, { raw: spec, root: "spec", schema: definition.schema });
      return { ok: false, errors: [...errors, ...checkTheRest(definition, spec, errors)] };
    }
    const errors = definition.rules.flatMap((rule) => rule.violations(parsed.data));
    if (errors.length > 0) return { ok: false, errors };
    return {
      ok: true,
      object: { ...raw, spec: parsed.data },
      spec: parsed.data,
      unsupported: [...findNotYet(definition.kind, parsed.data), ...definition.unsupported(parsed.data)],
      explanation: definition.explain(parsed.data),
      touches: definition.touches(parsed.data),
      embedded: definition.embedded(parsed.data),
    };
  };
  return {
    ...definition,
    judge,
    parseSpec(raw, around) {
      const judged = judge(raw, around);
      if (judged.ok) return judged.spec;
      throw new Error(
        `${definition.kind} breaks its own schema: ${judged.errors.map(({ path, message }) => `${path}: ${message}`).join("; ")}`,
      );
    },
  };
}

const MOST_ROUNDS = 8;

/**
 * The rules across fields for a spec that breaks its schema: takes out what is wrong, and what needs it, until the rest holds, so that
 * a user hears of all mistakes at once. What is said about a part that was taken out, or about what held it, is left out.
 */
function checkTheRest<S extends z.ZodType>(
  definition: KindDefinition<S>,
  spec: unknown,
  known: readonly FieldError[],
): readonly FieldError[] {
  const rest = structuredClone(spec);
  const places: Places = new WeakMap();
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const parsed = definition.schema.safeParse(rest);
    if (parsed.success) {
      const gone = membersOf(spec).filter((name) => !membersOf(rest).includes(name));
      const found = definition.rules
        .flatMap((rule) => violationsWithout(gone, rule, parsed.data))
        .map(({ path, message }) => ({ path: asWritten(path, rest, places), message }));
      return found.filter(
        ({ path }) => !known.some((error) => isWithin(error.path, path) || (path !== "spec" && isWithin(path, error.path))),
      );
    }
    let wasRemoved = false;
    for (const issue of parsed.error.issues) {
      const paths = issue.code === "unrecognized_keys" ? issue.keys.map((key) => [...issue.path, key]) : [issue.path];
      for (const path of paths) wasRemoved = removeAt(rest, path, places) || wasRemoved;
    }
    if (!wasRemoved) return [];
  }
  return [];
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

const membersOf = (spec: unknown): readonly string[] => (isJsonObject(spec) ? Object.keys(spec) : []);

/** Whether a path is that of the part or leads into it: `spec.a.b` and `spec.a[0]` lead into `spec.a`, `spec.ab` does not. */
const isWithin = (part: string, path: string): boolean => path === part || (path.startsWith(part) && /^[.[]/.test(path.slice(part.length)));

/** Of lists from which entries were taken out: where each entry that is left stood before. */
type Places = WeakMap<readonly unknown[], number[]>;

/** A path in what is left of a spec, as it was in the spec as written. */
function asWritten(path: string, rest: unknown, places: Places): string {
  let holder: unknown = { spec: rest };
  return path.replaceAll(/([A-Za-z_][A-Za-z0-9_-]*)|\[(\d+)\]|\["(?:[^"\\]|\\.)*"\]/g, (part: string, name?: string, index?: string) => {
    const list = holder;
    const key = name ?? index ?? (JSON.parse(part.slice(1, -1)) as string);
    holder = isHolder(holder) ? holder[key] : undefined;
    return index !== undefined && Array.isArray(list) ? `[${places.get(list)?.[Number(index)] ?? index}]` : part;
  });
}

/** Takes a member out; where it is missing already, the one that holds it. Says whether something was there to take. */
function removeAt(root: unknown, path: readonly PropertyKey[], places: Places): boolean {
  for (let depth = path.length; depth > 0; depth--) {
    let holder: unknown = root;
    for (const part of path.slice(0, depth - 1)) holder = isHolder(holder) ? holder[part] : undefined;
    const last = path[depth - 1] ?? "";
    if (!isHolder(holder) || holder[last] === undefined) continue;
    if (Array.isArray(holder) && typeof last === "number") {
      const known = places.get(holder) ?? [...holder.keys()];
      places.set(holder, known.toSpliced(last, 1));
      holder.splice(last, 1);
    } else delete holder[last];
    return true;
  }
  return false;
}

const isHolder = (value: unknown): value is Record<PropertyKey, unknown> => typeof value === "object" && value !== null;

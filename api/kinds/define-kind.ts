import type { z } from "zod";
import { groups } from "../../common/names.ts";
import type { FieldError } from "../field-error.ts";
import { isJsonObject, type JsonObject, withoutNulls } from "../json.ts";
import { explainIssues } from "../schema-errors.ts";
import { statusSchema } from "../status.ts";
import { findUnreadable } from "../unreadable.ts";
import { checkTheRest } from "./check-the-rest.ts";
import type { EmbeddedSpec, ExperimentDefinition, KindDefinition, Touch } from "./definition.ts";
import { type JudgeEmbedded, judgeNothing, mistakesIn, unsupportedIn } from "./embedded.ts";
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

/** `judgeEmbedded` is asked for the specs of other kinds that stand inside this one. */
export function defineKind<S extends z.ZodType>(definition: KindDefinition<S>, judgeEmbedded: JudgeEmbedded = judgeNothing): Kind<S> {
  const mistakesInside = (spec: unknown): readonly FieldError[] =>
    isJsonObject(spec) ? definition.embedded(spec).flatMap((part) => mistakesIn(part, judgeEmbedded)) : [];
  const judge: Kind<S>["judge"] = (raw, { namespace }) => {
    if (!isJsonObject(raw)) return { ok: false, errors: [{ path: definition.kind, message: "is no object." }] };
    const unreadable = findUnreadable(raw);
    if (unreadable.length > 0) return { ok: false, errors: unreadable };
    const object = withoutNulls(raw);
    const written = isJsonObject(object) ? (object["spec"] ?? {}) : {};
    const spec = isJsonObject(written) ? definition.prepare(written, namespace) : written;
    const parsed = definition.schema.safeParse(spec);
    if (!parsed.success) {
      const errors = explainIssues(parsed.error.issues, { raw: spec, root: "spec", schema: definition.schema });
      return { ok: false, errors: [...errors, ...checkTheRest(definition, spec, errors), ...mistakesInside(spec)] };
    }
    const errors = [...definition.rules.flatMap((rule) => rule.violations(parsed.data)), ...mistakesInside(parsed.data)];
    if (errors.length > 0) return { ok: false, errors };
    const embedded = isJsonObject(parsed.data) ? definition.embedded(parsed.data) : [];
    return {
      ok: true,
      object: { ...raw, spec: parsed.data },
      spec: parsed.data,
      unsupported: [
        ...findNotYet(definition.kind, parsed.data),
        ...definition.unsupported(parsed.data),
        ...embedded.flatMap((part) => unsupportedIn(part, judgeEmbedded)),
      ],
      explanation: definition.explain(parsed.data),
      touches: definition.touches(parsed.data),
      embedded,
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

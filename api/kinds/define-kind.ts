import type { z } from "zod";
import { groups } from "../../common/names.ts";
import type { FieldError } from "../field-error.ts";
import { isJsonObject, type JsonObject, withoutNulls } from "../json.ts";
import { explainIssues } from "../schema-errors.ts";
import { statusSchema } from "../status.ts";
import { findUnreadable } from "../unreadable.ts";
import { checkTheRest } from "./check-the-rest.ts";
import type { EmbeddedSpec, ExperimentDefinition, KindDefinition, Touch } from "./definition.ts";
import { type JudgeEmbedded, judgeNothing, judgeParts } from "./embedded.ts";
import { ineffectiveDuration, ineffectiveIn } from "./ineffective.ts";
import { findNotYet } from "./not-yet.ts";

/** A spec that its kind admits. */
export interface SoundSpec<Spec> {
  readonly ok: true;
  /** With every default filled in. */
  readonly spec: Spec;
  /** What this version cannot carry out; empty for one that takes effect. */
  readonly unsupported: readonly FieldError[];
  /** What is admitted and nothing comes of. */
  readonly ineffective: readonly FieldError[];
  readonly touches: readonly Touch[];
  /** Specs of other kinds right inside it, each judged as if it stood by itself. */
  readonly embedded: readonly SoundPart[];
}

export interface SoundPart extends EmbeddedSpec {
  readonly judged: SoundSpec<unknown>;
}

export interface Refused {
  readonly ok: false;
  readonly errors: readonly FieldError[];
}

export interface SoundObject<Spec> extends SoundSpec<Spec> {
  /** With every default filled in. */
  readonly object: JsonObject;
  /** What it does, in one sentence. */
  readonly explanation: string;
}

export type Judged<Spec> = SoundObject<Spec> | Refused;

/** A definition that can judge any object, so that shared code may call a kind without knowing which one it holds. */
export interface Kind<S extends z.ZodType> extends KindDefinition<S> {
  /** Checks a whole object as a user wrote it, in the namespace it is to live in. Reports all mistakes together; never throws. */
  judge(raw: unknown, around: { readonly namespace: string }): Judged<z.output<S>>;
  /** The same for a spec without nulls. */
  judgeSpec(written: unknown, around: { readonly namespace: string }): SoundSpec<z.output<S>> | Refused;
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
    ineffective: (spec) => [
      ...definition.ineffective(spec),
      ...definition.selections(spec).flatMap(({ key, block }) => ineffectiveIn(block, { root: key === "." ? "spec" : "spec.target" })),
      ...(definition.isOneShot(spec) ? ineffectiveDuration(spec) : []),
    ],
  });
  return { ...definition, ...kind };
}

/** `judgeEmbedded` is asked for the specs of other kinds that stand inside this one. */
export function defineKind<S extends z.ZodType>(definition: KindDefinition<S>, judgeEmbedded: JudgeEmbedded = judgeNothing): Kind<S> {
  const judgeSpec: Kind<S>["judgeSpec"] = (written, around) => {
    const spec = isJsonObject(written) ? definition.prepare(written, around.namespace) : written;
    const parts = judgeParts(isJsonObject(spec) ? definition.embedded(spec) : [], judgeEmbedded, around);
    const parsed = definition.schema.safeParse(spec);
    if (!parsed.success) {
      const errors = explainIssues(parsed.error.issues, { raw: spec, root: "spec", schema: definition.schema });
      return { ok: false, errors: [...errors, ...checkTheRest(definition, spec, errors), ...parts.mistakes] };
    }
    const errors = [...definition.rules.flatMap((rule) => rule.violations(parsed.data)), ...parts.mistakes];
    if (errors.length > 0) return { ok: false, errors };
    const completed = complete(parsed.data, parts.sound);
    return {
      ok: true,
      spec: completed,
      unsupported: [...findNotYet(definition.kind, completed), ...definition.unsupported(completed), ...parts.unsupported],
      ineffective: [...definition.ineffective(completed), ...parts.ineffective],
      touches: definition.touches(completed),
      embedded: parts.sound,
    };
  };
  const judge: Kind<S>["judge"] = (raw, around) => {
    if (!isJsonObject(raw)) return { ok: false, errors: [{ path: definition.kind, message: "is no object." }] };
    const unreadable = findUnreadable(raw);
    if (unreadable.length > 0) return { ok: false, errors: unreadable };
    const object = withoutNulls(raw);
    const judged = judgeSpec(isJsonObject(object) ? (object["spec"] ?? {}) : {}, around);
    if (!judged.ok) return judged;
    return { ...judged, object: { ...raw, spec: judged.spec }, explanation: definition.explain(judged.spec) };
  };
  return {
    ...definition,
    judge,
    judgeSpec,
    parseSpec(raw, around) {
      const judged = judge(raw, around);
      if (judged.ok) return judged.spec;
      throw new Error(
        `${definition.kind} breaks its own schema: ${judged.errors.map(({ path, message }) => `${path}: ${message}`).join("; ")}`,
      );
    },
  };
}

/** The spec, which nobody else has seen yet, with its parts as their kinds complete them. */
function complete<Spec>(spec: Spec, parts: readonly SoundPart[]): Spec {
  for (const { place, judged } of parts) {
    const holder = place.slice(0, -1).reduce<unknown>((value, key) => (isHolder(value) ? value[key] : undefined), spec);
    const key = place.at(-1);
    if (isHolder(holder) && key !== undefined) holder[key] = judged.spec;
  }
  return spec;
}

const isHolder = (value: unknown): value is Record<string | number, unknown> => typeof value === "object" && value !== null;

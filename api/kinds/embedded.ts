import * as z from "zod";
import { embeds } from "../crd-schema.ts";
import type { FieldError } from "../field-error.ts";
import { isJsonObject, type JsonObject } from "../json.ts";
import { formatPath } from "../schema-errors.ts";
import type { Refused, SoundPart, SoundSpec } from "./define-kind.ts";
import type { EmbeddedSpec } from "./definition.ts";

/** Specs of other kinds inside one: what a Schedule makes and what the templates of a Workflow are. Each is judged by its own kind, under the path that the user wrote. */

/** Judges a spec that stands somewhere inside an object of that namespace. Throws on a name that is no kind. */
export type JudgeEmbedded = (kind: string, spec: JsonObject, around: { readonly namespace: string }) => SoundSpec<unknown> | Refused;

/** For kinds that embed none. */
export const judgeNothing: JudgeEmbedded = (kind) => {
  throw new Error(`A ${kind} stands where no other kind can be judged.`);
};

/** A spec of that kind, which the schema around it takes as it is. */
export const embeddedSpec = (kind: string, without: readonly string[] = []) =>
  z.record(z.string(), z.unknown()).meta(embeds({ kind, without }));

/** The spec in a member of what stands at `place`; none where there is none. */
export function embeddedAt(
  holder: JsonObject,
  key: string,
  { kind, place }: { readonly kind: string; readonly place: readonly (string | number)[] },
): readonly EmbeddedSpec[] {
  const spec = holder[key];
  const own = [...place, key];
  return isJsonObject(spec) ? [{ kind, spec, place: own, path: formatPath("spec", own) }] : [];
}

export interface JudgedParts {
  readonly mistakes: readonly FieldError[];
  readonly unsupported: readonly FieldError[];
  readonly ineffective: readonly FieldError[];
  readonly sound: readonly SoundPart[];
}

/** Judges every part once; what is said of them has its path from the root of the object around. */
export function judgeParts(parts: readonly EmbeddedSpec[], judge: JudgeEmbedded, around: { readonly namespace: string }): JudgedParts {
  const judged = parts.map((part) => ({ part, judged: judge(part.kind, part.spec, around) }));
  return {
    mistakes: judged.flatMap(({ part, judged: found }) => (found.ok ? [] : found.errors.map((error) => pathAt(part, error)))),
    unsupported: judged.flatMap(({ part, judged: found }) => (found.ok ? found.unsupported.map((error) => pathAt(part, error)) : [])),
    ineffective: judged.flatMap(({ part, judged: found }) => (found.ok ? found.ineffective.map((error) => pathAt(part, error)) : [])),
    sound: judged.flatMap(({ part, judged: found }) => (found.ok ? [{ ...part, judged: found }] : [])),
  };
}

/** `spec.delay` of the spec at `spec.templates[2].networkChaos`; what is said of the kind as a whole is said of that member. */
const pathAt = ({ path: root }: EmbeddedSpec, { path, message }: FieldError): FieldError => ({
  path: path.startsWith("spec") ? `${root}${path.slice("spec".length)}` : root,
  message,
});

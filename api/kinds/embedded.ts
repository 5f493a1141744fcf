import { z } from "zod";
import { embeds } from "../crd-schema.ts";
import type { FieldError } from "../field-error.ts";
import { isJsonObject, type JsonObject } from "../json.ts";
import type { Judged } from "./define-kind.ts";
import type { EmbeddedSpec } from "./definition.ts";

/** Specs of other kinds inside one: what a Schedule makes and what the templates of a Workflow are. Each is judged by its own kind, under the path that the user wrote. */

/** Judges a spec that stands somewhere inside an object of that namespace. Throws on a name that is no kind. */
export type JudgeEmbedded = (kind: string, spec: JsonObject, namespace: string) => Judged<unknown>;

/** For kinds that embed none. */
export const judgeNothing: JudgeEmbedded = (kind) => {
  throw new Error(`A ${kind} stands where no other kind can be judged.`);
};

/** A spec of that kind, which the schema around it takes as it is. */
export const embeddedSpec = (kind: string, without: readonly string[] = []) =>
  z.record(z.string(), z.unknown()).meta(embeds({ kind, without }));

/** The spec in a member of an object that is at `path`; none where there is none. */
export function embeddedAt(
  holder: JsonObject,
  key: string,
  { kind, path }: { readonly kind: string; readonly path: string },
): readonly EmbeddedSpec[] {
  const spec = holder[key];
  return isJsonObject(spec) ? [{ kind, spec, path: `${path}.${key}` }] : [];
}

export function mistakesIn({ kind, spec, path }: EmbeddedSpec, judge: JudgeEmbedded): readonly FieldError[] {
  const judged = judge(kind, spec, ANY_NAMESPACE);
  return judged.ok ? [] : judged.errors.map((error) => pathAt(path, error));
}

/** What of an embedded spec cannot be carried out yet. */
export function unsupportedIn({ kind, spec, path }: EmbeddedSpec, judge: JudgeEmbedded): readonly FieldError[] {
  const judged = judge(kind, spec, ANY_NAMESPACE);
  return judged.ok ? judged.unsupported.map((error) => pathAt(path, error)) : [];
}

/** What is wrong with a spec does not depend on the namespace around it, so any legal name will do. */
const ANY_NAMESPACE = "default";

/** `spec.delay` of the spec at `spec.templates[2].networkChaos`; what is said of the kind as a whole is said of that member. */
const pathAt = (root: string, { path, message }: FieldError): FieldError => ({
  path: path.startsWith("spec") ? `${root}${path.slice("spec".length)}` : root,
  message,
});

/** The holder with an embedded spec as its kind completes it; as it is where it has mistakes, which are told later. */
export function completeEmbedded(
  holder: JsonObject,
  key: string,
  { kind, namespace, judge }: { readonly kind: string; readonly namespace: string; readonly judge: JudgeEmbedded },
): JsonObject {
  const spec = holder[key];
  const judged = isJsonObject(spec) ? judge(kind, spec, namespace) : undefined;
  return judged?.ok === true ? { ...holder, [key]: judged.spec } : holder;
}

import type { FieldError } from "./field-error.ts";

/** A rule across fields, which a schema cannot say. */
export interface Rule<Spec> {
  /** What holds, for docs/rules.md and for the API server's own refusal: a sentence without its full stop, unique in its kind. */
  readonly title: string;
  /** The same over `self`, the spec with the schema's defaults, for the CRD, which holds it even when the webhook is away; undefined where only the webhook does. */
  readonly cel: string | undefined;
  /** Every violation, not just the first; `path` begins with `spec`. */
  violations(spec: Spec): readonly FieldError[];
}

/** The rules of a part of the spec, such as `target`, seen from the whole. */
export function rulesAt<Spec, Part>(
  name: string & keyof Spec,
  partOf: (spec: Spec) => Part | undefined,
  rules: readonly Rule<Part>[],
): readonly Rule<Spec>[] {
  return rules.map((rule) => ({
    title: `${name}: ${rule.title}`,
    cel: rule.cel === undefined ? undefined : `!has(self.${name}) || (${rule.cel.replaceAll(/\bself\b/g, `self.${name}`)})`,
    violations(spec) {
      const part = partOf(spec);
      if (part === undefined) return [];
      return rule.violations(part).map(({ path, message }) => ({ path: path.replace(/^spec/, `spec.${name}`), message }));
    },
  }));
}

import type { FieldError } from "./field-error.ts";
import { listWords } from "./text.ts";

/** A rule across fields, which a schema cannot say. */
export interface Rule<Spec> {
  /** What holds, for docs/rules.md and for the API server's own refusal: a sentence without its full stop, unique in its kind. */
  readonly title: string;
  /** The same over `self`, the spec with the schema's defaults, for the CRD, which holds it even when the webhook is away; undefined where only the webhook does. */
  readonly cel: string | undefined;
  /** It compares parts of the spec by name, so it says nothing about one of which some had to be left out. */
  readonly isOfWhole?: true;
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

/** A member that an action cannot do without; an empty text or list counts as missing, 0 does not. */
export interface Need<Spec> {
  readonly name: string & keyof Spec;
  readonly is: "text" | "list" | "number";
  /** Ends the message: what to write. */
  readonly write: string;
}

export function actionNeeds<Spec extends { readonly action: string }>(action: Spec["action"], needs: readonly Need<Spec>[]): Rule<Spec> {
  return {
    title: `${action} needs ${listWords(needs.map(({ name }) => name))}`,
    cel: `self.action != '${action}' || (${needs.map(({ name, is }) => celHas(["self", name], is)).join(" && ")})`,
    violations: (spec) =>
      spec.action === action
        ? needs
            .filter(({ name }) => isMissing(spec[name]))
            .map(({ name, write }) => ({ path: `spec.${name}`, message: `is missing: ${action} needs it. ${write}` }))
        : [],
  };
}

const isMissing = (value: unknown): boolean => value === undefined || value === "" || (Array.isArray(value) && value.length === 0);

/** CEL for: the member is there, and not empty where it is a text or a list. */
export function celHas(path: readonly string[], is: Need<unknown>["is"]): string {
  const member = path.map(celName).join(".");
  return is === "number" ? `has(${member})` : `has(${member}) && size(${member}) > 0`;
}

/** A member's name as CEL spells it in a CRD. See https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules. */
export const celName = (name: string): string =>
  name.replaceAll("__", "__underscores__").replaceAll("-", "__dash__").replaceAll(".", "__dot__").replaceAll("/", "__slash__");

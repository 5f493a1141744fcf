import type { Mode } from "../blocks/selector.ts";
import type { FieldError } from "../field-error.ts";
import { isEquivalent, isJsonObject, type JsonObject } from "../json.ts";

/** What Chaos Mesh admits and nothing comes of: admitted here, too, with a warning for each. */

/** Whether a member stands there for something: empty texts, lists and objects, 0 and false do not. */
export const isGiven = (value: unknown): boolean => value !== 0 && value !== false && !isEquivalent(value, undefined);

/** Members that only some actions use, and that are given beside another. */
export function unusedBy<Spec extends { readonly action: string }>(
  spec: Spec,
  users: Readonly<Partial<Record<keyof Spec & string, readonly Spec["action"][]>>>,
): readonly FieldError[] {
  return Object.entries<readonly string[] | undefined>(users)
    .filter(([name, actions = []]) => !actions.includes(spec.action) && isGiven((spec as Readonly<Record<string, unknown>>)[name]))
    .map(([name]) => ({ path: `spec.${name}`, message: `is not used by the action ${spec.action}.` }));
}

interface Selecting {
  readonly selector?: JsonObject | undefined;
  readonly mode: Mode;
  readonly value?: string | undefined;
}

/** `value` of a mode that takes none, and what stands beside the member that has the names of what is selected. */
export function ineffectiveIn(
  { selector = {}, mode, value }: Selecting,
  { root = "spec", named = "pods" }: { readonly root?: string; readonly named?: "pods" | "physicalMachines" } = {},
): readonly FieldError[] {
  const beside = isGiven(selector[named])
    ? Object.entries(selector).filter(([name, member]) => name !== named && name !== "namespaces" && isGiven(member))
    : [];
  return [
    ...(isGiven(value) && (mode === "one" || mode === "all")
      ? [{ path: `${root}.value`, message: `is not used by the mode ${mode}.` }]
      : []),
    ...beside.map(([name]) => ({
      path: `${root}.selector.${name}`,
      message: `is not used: selector.${named} has the names, whatever else is there.`,
    })),
  ];
}

/** How long an act lasts that is over at once. */
export function ineffectiveDuration(spec: unknown): readonly FieldError[] {
  const { duration } = isJsonObject(spec) ? spec : {};
  return isGiven(duration) ? [{ path: "spec.duration", message: "has no effect on an act that is over at once." }] : [];
}

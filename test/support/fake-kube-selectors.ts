/** Label and field selectors as the API server reads them, for `FakeKube`. */

export type Json = { readonly [key: string]: unknown };

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value);

/** The value at a dotted path; undefined where there is none. */
export function at(object: unknown, ...path: readonly string[]): unknown {
  return path.reduce<unknown>((value, key) => (isObject(value) ? value[key] : undefined), object);
}

export function textAt(object: unknown, ...path: readonly string[]): string | undefined {
  const value = at(object, ...path);
  return typeof value === "string" ? value : undefined;
}

/** Whether an object is picked by both selectors. See https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/. */
export function isSelected(
  object: Json,
  { labelSelector, fieldSelector }: { labelSelector?: string | undefined; fieldSelector?: string | undefined },
): boolean {
  return (
    requirements(labelSelector).every((rule) => meetsLabelRule(object, rule)) &&
    requirements(fieldSelector).every((rule) => meetsFieldRule(object, rule))
  );
}

/** Splits at commas outside of parentheses. */
function requirements(selector: string | undefined): readonly string[] {
  return (selector ?? "")
    .split(/,(?![^(]*\))/)
    .map((rule) => rule.trim())
    .filter((rule) => rule !== "");
}

function meetsLabelRule(object: Json, rule: string): boolean {
  const label = (key: string): string | undefined => textAt(object, "metadata", "labels", key);
  const set = /^(\S+)\s+(in|notin)\s+\(([^)]*)\)$/.exec(rule);
  if (set) {
    const [, key = "", operator, list = ""] = set;
    const values = list.split(",").map((value) => value.trim());
    const value = label(key);
    return operator === "in" ? value !== undefined && values.includes(value) : value === undefined || !values.includes(value);
  }
  const [key = "", operator = "", value = ""] = rule.split(/\s*(!=|==|=)\s*/);
  if (operator === "") return rule.startsWith("!") ? label(rule.slice(1).trim()) === undefined : label(rule) !== undefined;
  return (label(key) === value) === (operator !== "!=");
}

function meetsFieldRule(object: Json, rule: string): boolean {
  const [key = "", operator = "", value = ""] = rule.split(/\s*(!=|==|=)\s*/);
  return ((textAt(object, ...key.split(".")) ?? "") === value) === (operator !== "!=");
}

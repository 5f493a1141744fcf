import type { z } from "zod";
import type { FieldError } from "./field-error.ts";
import { show, suggest } from "./text.ts";

/** Turns what zod found into mistakes in our words. */

type Issue = z.core.$ZodIssue;

/** `spec.selector.namespaces[0]`; a key that is no plain word is quoted: `spec.selector.labelSelectors["a.b/c"]`. */
export function formatPath(root: string, path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`;
    const key = String(part);
    return /^[A-Za-z_][A-Za-z0-9_-]{0,100}$/.test(key) ? `${text}.${key}` : `${text}[${show(key)}]`;
  }, root);
}

export function explainIssues(
  issues: readonly Issue[],
  { raw, root, schema }: { readonly raw: unknown; readonly root: string; readonly schema: z.ZodType },
): readonly FieldError[] {
  return issues.flatMap((issue): readonly FieldError[] => {
    if (issue.code !== "unrecognized_keys")
      return [{ path: formatPath(root, issue.path), message: explainIssue(issue, valueAt(raw, issue.path), schemaAt(schema, issue.path)) }];
    const known = keysAt(schema, issue.path);
    return issue.keys.map((key) => ({ path: formatPath(root, [...issue.path, key]), message: `is not known here.${suggest(key, known)}` }));
  });
}

function explainIssue(issue: Issue, found: unknown, schema: unknown): string {
  switch (issue.code) {
    case "invalid_type":
      // A message of the schema's own; zod's begin in this way.
      if (!issue.message.startsWith("Invalid input")) return issue.message;
      return found === undefined
        ? `is missing. Write ${article(issue.expected)}.`
        : `${show(found)} is ${article(typeOf(found))}. ${problemAsText(found, issue.expected, schema) ?? `Write ${article(issue.expected)}${asExpected(found, issue.expected)}.`}`;
    case "invalid_value": {
      const known = issue.values.map(String);
      const isOne = known.length === 1;
      if (found === undefined) return `is missing. Write ${isOne ? "" : "one of "}${known.join(", ")}.`;
      return `${show(found)} is ${isOne ? "not" : "none of"} ${known.join(", ")}.${typeof found === "string" ? suggest(found, known) : ""}`;
    }
    case "too_big":
      if (issue.origin === "string") return `is longer than ${issue.maximum} characters.`;
      if (issue.origin === "array") return `has more than ${issue.maximum} entries.`;
      return `${show(found)} is above ${issue.maximum}.`;
    case "too_small":
      if (issue.origin === "array") return `has fewer than ${issue.minimum} ${Number(issue.minimum) === 1 ? "entry" : "entries"}.`;
      if (issue.origin === "string") return `is shorter than ${issue.minimum} ${Number(issue.minimum) === 1 ? "character" : "characters"}.`;
      return `${show(found)} is below ${issue.minimum}.`;
    case "custom":
    case "invalid_element":
    case "invalid_format":
    case "invalid_key":
    case "invalid_union":
    case "not_multiple_of":
    case "unrecognized_keys":
      return issue.message;
  }
}

/** What is wrong with the value beside its missing quotes; undefined where nothing is. */
function problemAsText(found: unknown, expected: string, schema: unknown): string | undefined {
  if (expected !== "string" || (typeof found !== "number" && typeof found !== "boolean") || !isParser(schema)) return undefined;
  const [issue] = schema.safeParse(String(found)).error?.issues ?? [];
  return issue?.code === "custom" ? `As a text, ${issue.message}` : undefined;
}

/** The value as it should have been written, where only the quotes are wrong. */
function asExpected(found: unknown, expected: string): string {
  if (expected === "string" && (typeof found === "number" || typeof found === "boolean")) return `: ${show(String(found))}`;
  const isNumber = expected === "number" || expected === "int";
  return isNumber && typeof found === "string" && /^-?\d{1,15}$/.test(found) ? `, without quotes: ${found}` : "";
}

function typeOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

function article(type: string): string {
  const words: Readonly<Record<string, string>> = {
    string: "a text",
    int: "a whole number",
    number: "a number",
    boolean: "true or false",
    array: "a list",
    object: "an object",
    record: "an object",
    null: "null",
  };
  return words[type] ?? type;
}

function valueAt(raw: unknown, path: readonly PropertyKey[]): unknown {
  let value = raw;
  for (const part of path)
    value = typeof value === "object" && value !== null ? (value as Readonly<Record<PropertyKey, unknown>>)[part] : undefined;
  return value;
}

/** The members that an object at this path may have, for suggestions. */
function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): readonly string[] {
  const node = schemaAt(schema, path);
  return isSchema(node) ? Object.keys(node.def.shape ?? {}) : [];
}

/** The schema of what is at this path, without defaults and the like around it; undefined where there is none. */
function schemaAt(schema: z.ZodType, path: readonly PropertyKey[]): unknown {
  let node: unknown = schema;
  const unwrap = (): void => {
    while (isSchema(node) && "innerType" in node.def) node = node.def.innerType;
  };
  for (const part of path) {
    unwrap();
    if (!isSchema(node)) return undefined;
    const { shape, element } = node.def;
    node = typeof part === "number" ? element : shape?.[String(part)];
  }
  unwrap();
  return node;
}

interface InnerSchema {
  readonly def: { readonly innerType?: unknown; readonly element?: unknown; readonly shape?: Readonly<Record<string, unknown>> };
}

const isParser = (node: unknown): node is z.ZodType => isSchema(node) && "safeParse" in node && typeof node.safeParse === "function";

const isSchema = (node: unknown): node is InnerSchema => typeof node === "object" && node !== null && "def" in node;

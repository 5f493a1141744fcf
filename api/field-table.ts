import type { z } from "zod";
import { planStructuralSchema } from "./crd-schema.ts";
import { isJsonObject, type JsonObject } from "./json.ts";
import type { KindDefinition } from "./kinds/definition.ts";

/** A Markdown table of every field of a spec: path, type, default, meaning. What an embedded spec holds is on the page of its kind. */
export function planFieldTable({ schema }: Pick<KindDefinition<z.ZodType>, "schema">): string {
  const rows = rowsOf(
    planStructuralSchema(schema, () => ({})),
    "",
  );
  return ["| field | type | default | meaning |", "| --- | --- | --- | --- |", ...rows].join("\n");
}

function rowsOf(schema: JsonObject, prefix: string): readonly string[] {
  const { properties, required } = schema;
  if (!isJsonObject(properties)) return [];
  return Object.entries(properties).flatMap(([name, member]) => {
    if (!isJsonObject(member)) return [];
    const path = prefix === "" ? name : `${prefix}.${name}`;
    const isRequired = Array.isArray(required) && required.includes(name);
    const fallback = isRequired ? "required" : describeDefault(member["default"]);
    const { description } = member;
    const meaning = (typeof description === "string" ? description : "").replaceAll("|", "\\|");
    const inner = isJsonObject(member["items"]) ? rowsOf(member["items"], `${path}[]`) : rowsOf(member, path);
    return [`| \`${path}\` | ${describeType(member)} | ${fallback} | ${meaning} |`, ...inner];
  });
}

const describeDefault = (value: unknown): string => (value === undefined ? "" : `\`${JSON.stringify(value)}\``);

function describeType(schema: JsonObject): string {
  const { type, items, additionalProperties } = schema;
  const { enum: choices } = schema;
  if (Array.isArray(choices)) return choices.map((choice) => `\`${String(choice)}\``).join(" ");
  if (isJsonObject(items)) return `list of ${describeType(items)}`;
  if (isJsonObject(additionalProperties)) return `map to ${describeType(additionalProperties)}`;
  return String(type);
}

import * as z from "zod";
import { isJsonObject, type JsonObject } from "./json.ts";

/** The spec of another kind that stands in a field: its schema takes the field's place. Written as `x-squall-embeds` into the metadata of an object without members. */
export interface Embeds {
  readonly kind: string;
  /** Members of that spec that do not stand there. */
  readonly without?: readonly string[];
}

export const embeds = (what: Embeds) => ({ "x-squall-embeds": what });

/** Gives the schema of an embedded spec; never asked for by a schema that embeds none. */
type Embed = (what: Embeds) => JsonObject;

/** Turns a zod schema into the structural schema of a CRD. See https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema. */
export function planStructuralSchema(schema: z.ZodType, embed: Embed): JsonObject {
  const plain = z.toJSONSchema(schema, { target: "openapi-3.0", io: "input", unrepresentable: "throw", reused: "inline", cycles: "throw" });
  return structural(plain, "spec", embed);
}

const INT32_MAX = 2 ** 31 - 1;
/** What the API server refuses in a structural schema, or what only a union makes. */
const notStructural = ["oneOf", "anyOf", "allOf", "not", "$ref"] as const;

function structural(node: unknown, path: string, embed: Embed): JsonObject {
  if (!isJsonObject(node)) throw new Error(`${path}: a schema is no object.`);
  for (const word of notStructural)
    if (word in node) throw new Error(`${path}: ${word} cannot stand in a CRD. Write one flat object and a CEL rule.`);
  if (typeof node["type"] !== "string") throw new Error(`${path}: has no type.`);
  const {
    properties,
    items,
    additionalProperties,
    required,
    minimum,
    maximum,
    "x-squall-embeds": embedded,
    $schema: _,
    propertyNames: __,
    "~standard": ___,
    ...rest
  } = node;
  if (embedded !== undefined) return { ...embed(embedded as Embeds), ...rest };
  const isOpen = isJsonObject(additionalProperties) && Object.keys(additionalProperties).length === 0;
  return {
    ...rest,
    ...numberLimits(node["type"], minimum, maximum),
    ...(isJsonObject(properties)
      ? {
          properties: Object.fromEntries(
            Object.entries(properties).map(([key, member]) => [key, structural(member, `${path}.${key}`, embed)]),
          ),
        }
      : {}),
    ...(items === undefined ? {} : { items: structural(items, `${path}[]`, embed) }),
    // Members of any kind, which a structural schema must say are to be kept.
    ...(isOpen ? { "x-kubernetes-preserve-unknown-fields": true } : {}),
    // `false` stands for an object without other members, which a structural schema says by pruning.
    ...(isJsonObject(additionalProperties) && !isOpen
      ? { additionalProperties: structural(additionalProperties, `${path}{}`, embed) }
      : {}),
    ...(Array.isArray(required) && required.length > 0 ? { required } : {}),
  };
}

/** `format` alone is not enforced, so limits stay; those that only say "what JavaScript can count" become the format. */
function numberLimits(type: string, minimum: unknown, maximum: unknown): JsonObject {
  if (type !== "integer") return { ...(minimum === undefined ? {} : { minimum }), ...(maximum === undefined ? {} : { maximum }) };
  return {
    format: typeof maximum === "number" && maximum <= INT32_MAX ? "int32" : "int64",
    ...(minimum === undefined || minimum === Number.MIN_SAFE_INTEGER ? {} : { minimum }),
    ...(maximum === undefined || maximum === Number.MAX_SAFE_INTEGER ? {} : { maximum }),
  };
}

/** What an embedded schema goes without: a CRD that holds many of them would be larger than kubectl can apply. */
const onlyOutside = ["description", "maxLength", "maxItems", "maxProperties", "x-kubernetes-validations"];

/** The schema without texts and without limits of length; types, choices, defaults and limits of numbers stay. */
export function planBareSchema(schema: JsonObject): JsonObject {
  const { properties, items, additionalProperties } = schema;
  return {
    ...Object.fromEntries(Object.entries(schema).filter(([key]) => !onlyOutside.includes(key))),
    ...(isJsonObject(properties)
      ? {
          properties: Object.fromEntries(
            Object.entries(properties).map(([key, member]) => [key, isJsonObject(member) ? planBareSchema(member) : member]),
          ),
        }
      : {}),
    ...(isJsonObject(items) ? { items: planBareSchema(items) } : {}),
    ...(isJsonObject(additionalProperties) ? { additionalProperties: planBareSchema(additionalProperties) } : {}),
  };
}

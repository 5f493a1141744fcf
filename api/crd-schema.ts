import { z } from "zod";
import { isJsonObject, type JsonObject } from "./json.ts";

/** Turns a zod schema into the structural schema of a CRD. See https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema. */
export function planStructuralSchema(schema: z.ZodType): JsonObject {
  const plain = z.toJSONSchema(schema, { target: "openapi-3.0", io: "input", unrepresentable: "throw", reused: "inline", cycles: "throw" });
  return structural(plain, "spec");
}

const INT32_MAX = 2 ** 31 - 1;
/** What the API server refuses in a structural schema, or what only a union makes. */
const notStructural = ["oneOf", "anyOf", "allOf", "not", "$ref"] as const;

function structural(node: unknown, path: string): JsonObject {
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
    $schema: _,
    propertyNames: __,
    "~standard": ___,
    ...rest
  } = node;
  return {
    ...rest,
    ...numberLimits(node["type"], minimum, maximum),
    ...(isJsonObject(properties)
      ? { properties: Object.fromEntries(Object.entries(properties).map(([key, member]) => [key, structural(member, `${path}.${key}`)])) }
      : {}),
    ...(items === undefined ? {} : { items: structural(items, `${path}[]`) }),
    // `false` stands for an object without other members, which a structural schema says by pruning.
    ...(isJsonObject(additionalProperties) ? { additionalProperties: structural(additionalProperties, `${path}{}`) } : {}),
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

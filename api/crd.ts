import * as z from "zod";
import { type Embeds, planBareSchema, planStructuralSchema } from "./crd-schema.ts";
import type { JsonObject } from "./json.ts";
import type { KindDefinition } from "./kinds/definition.ts";

type SchemaOf = (kind: string) => z.ZodType;

/** The CustomResourceDefinition of a kind. `schemaOf` gives the schemas of the kinds that may be embedded in it. */
export function planCrd(definition: KindDefinition<z.ZodType>, schemaOf: SchemaOf): JsonObject {
  const { kind, group, plural, singular, shortNames, scope, columns, description, schema, rules, status } = definition;
  const validations = rules.flatMap(({ title, cel }) => (cel === undefined ? [] : [{ rule: cel, message: title }]));
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}`, labels: { "app.kubernetes.io/name": "squall" } },
    spec: {
      group,
      scope,
      names: { kind, listKind: `${kind}List`, plural, singular, ...(shortNames.length > 0 ? { shortNames } : {}) },
      versions: [
        {
          name: "v1alpha1",
          served: true,
          storage: true,
          ...(status === undefined ? {} : { subresources: { status: {} } }),
          additionalPrinterColumns: [
            ...columns.map((column) => ({ type: "string", ...column })),
            { name: "age", type: "date", jsonPath: ".metadata.creationTimestamp" },
          ],
          schema: {
            openAPIV3Schema: {
              type: "object",
              description,
              ...(schema.safeParse({}).success ? {} : { required: ["spec"] }),
              properties: {
                apiVersion: { type: "string" },
                kind: { type: "string" },
                metadata: { type: "object" },
                spec: {
                  ...planStructuralSchema(schema, (what) => planEmbedded(what, schemaOf)),
                  ...(validations.length > 0 ? { "x-kubernetes-validations": validations } : {}),
                },
                ...(status === undefined ? {} : { status: planStructuralSchema(status, (what) => planEmbedded(what, schemaOf)) }),
              },
            },
          },
        },
      ],
    },
  };
}

function planEmbedded({ kind, without = [] }: Embeds, schemaOf: SchemaOf): JsonObject {
  const schema = schemaOf(kind);
  if (!(schema instanceof z.ZodObject)) throw new Error(`The spec of a ${kind} is no object.`);
  const part = z.strictObject(Object.fromEntries(Object.entries(schema.shape).filter(([member]) => !without.includes(member))));
  return planBareSchema(planStructuralSchema(part, (what) => planEmbedded(what, schemaOf)));
}

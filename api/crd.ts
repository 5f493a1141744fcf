import type { z } from "zod";
import { planStructuralSchema } from "./crd-schema.ts";
import type { JsonObject } from "./json.ts";
import type { KindDefinition } from "./kinds/definition.ts";

/** The CustomResourceDefinition of a kind. */
export function planCrd(definition: KindDefinition<z.ZodType>): JsonObject {
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
                  ...planStructuralSchema(schema),
                  ...(validations.length > 0 ? { "x-kubernetes-validations": validations } : {}),
                },
                ...(status === undefined ? {} : { status: planStructuralSchema(status) }),
              },
            },
          },
        },
      ],
    },
  };
}

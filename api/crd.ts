import type { z } from "zod";
import { groups } from "../common/names.ts";
import { planStructuralSchema } from "./crd-schema.ts";
import type { JsonObject } from "./json.ts";
import type { KindDefinition } from "./kinds/definition.ts";
import { statusSchema } from "./status.ts";

/** The CustomResourceDefinition of a kind. */
export function planCrd<S extends z.ZodType>({ kind, plural, schema, columns }: KindDefinition<S>): JsonObject {
  const condition = (type: string): string => `.status.conditions[?(@.type=="${type}")].status`;
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${groups.chaos}`, labels: { "app.kubernetes.io/name": "squall" } },
    spec: {
      group: groups.chaos,
      scope: "Namespaced",
      names: { kind, listKind: `${kind}List`, plural, singular: plural },
      versions: [
        {
          name: "v1alpha1",
          served: true,
          storage: true,
          subresources: { status: {} },
          additionalPrinterColumns: [
            ...columns.map((column) => ({ ...column, type: "string" })),
            { name: "injected", type: "string", jsonPath: condition("AllInjected") },
            { name: "recovered", type: "string", jsonPath: condition("AllRecovered") },
            { name: "age", type: "date", jsonPath: ".metadata.creationTimestamp" },
          ],
          schema: {
            openAPIV3Schema: {
              type: "object",
              description: `${kind} is an experiment: which pods, what happens to them, for how long.`,
              required: ["spec"],
              properties: {
                apiVersion: { type: "string" },
                kind: { type: "string" },
                metadata: { type: "object" },
                spec: planStructuralSchema(schema),
                status: planStructuralSchema(statusSchema),
              },
            },
          },
        },
      ],
    },
  };
}

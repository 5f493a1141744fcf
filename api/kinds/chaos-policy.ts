import * as z from "zod";
import { groups } from "../../common/names.ts";
import { parseDuration } from "../../common/duration.ts";
import { labelSelector } from "../blocks/label-selector.ts";
import { problemsWithExpressions } from "../blocks/selector.ts";
import { labelKey, namespaceName, problemWithDuration, textWith } from "../blocks/scalars.ts";
import { timeWindow } from "../blocks/time-window.ts";
import type { Rule } from "../rule.ts";
import { show, suggest } from "../text.ts";
import type { KindDefinition } from "./definition.ts";
import { experimentActions } from "./actions.ts";

const MOST = 100;

const kindName = textWith((text) =>
  Object.hasOwn(experimentActions, text)
    ? undefined
    : `${show(text)} is no kind of experiment.${suggest(text, Object.keys(experimentActions))}`,
);

const longest = textWith((text) => {
  const problem = problemWithDuration(text);
  if (problem !== undefined) return problem;
  return (parseDuration(text) ?? 0n) > 0n ? undefined : `${show(text)} is not above 0. Write a duration such as "1h".`;
});

const schema = z.strictObject({
  enabled: z.boolean().default(true).describe("A policy that is not enabled has no effect."),
  namespaces: z
    .array(namespaceName())
    .max(1_000)
    .optional()
    .describe("Namespaces that are covered, by name. Neither namespaces nor namespaceSelector: all."),
  namespaceSelector: labelSelector().optional().describe("Namespaces that are covered, by label; those of namespaces are covered as well."),
  allow: z
    .array(
      z.strictObject({
        kind: kindName.describe("Kind of experiment."),
        actions: z.array(z.string().max(64)).min(1).max(MOST).optional().describe("Its actions; all by default."),
      }),
    )
    .max(MOST)
    .optional()
    .describe("What may be done to pods there; everything by default."),
  duration: z
    .strictObject({
      max: longest.optional().describe("Longest duration of an experiment."),
      required: z.boolean().default(false).describe("Whether an experiment must have a duration."),
    })
    .optional()
    .describe("How long experiments may run."),
  budget: z
    .strictObject({
      maxPods: z.number().int().min(0).max(100_000).optional().describe("Pods of one workload."),
      maxPercent: z
        .number()
        .int()
        .min(0)
        .max(100)
        .optional()
        .describe("Share of a workload's pods in percent, rounded down to whole pods."),
    })
    .optional()
    .describe("How many pods of one workload may be faulted at the same time, by all experiments together."),
  windows: z.array(timeWindow).min(1).max(MOST).optional().describe("When experiments may run; any one of these. Always by default."),
  protected: z
    .array(labelSelector())
    .max(MOST)
    .optional()
    .describe("Pods that are never a target: those that one of these selectors matches."),
  requiredAnnotations: z
    .array(
      z.strictObject({
        key: labelKey().describe("Key of the annotation."),
        pattern: z
          .string()
          .min(1)
          .max(256)
          .optional()
          .describe('What its value must look like; "*" stands for any text, "?" for one character.'),
      }),
    )
    .max(MOST)
    .optional()
    .describe("Annotations that an experiment must have."),
});
export type PolicySpec = z.output<typeof schema>;

const rules: readonly Rule<PolicySpec>[] = [
  {
    title: "actions in allow are actions of their kind",
    cel: undefined,
    violations: ({ allow = [] }) =>
      allow.flatMap(({ kind, actions = [] }, entry) => {
        const known = experimentActions[kind] ?? [];
        return actions.flatMap((action, index) =>
          known.includes(action)
            ? []
            : [
                {
                  path: `spec.allow[${entry}].actions[${index}]`,
                  message:
                    known.length === 0
                      ? `${kind} has no actions. Leave actions out.`
                      : `${show(action)} is none of ${known.join(", ")}.${suggest(action, known)}`,
                },
              ],
        );
      }),
  },
  {
    title: "in matchExpressions, In and NotIn need values, and Exists and DoesNotExist take none",
    cel: undefined,
    violations: ({ namespaceSelector, protected: selectors = [] }) => [
      ...problemsWithExpressions(namespaceSelector?.matchExpressions ?? [], "spec.namespaceSelector.matchExpressions"),
      ...selectors.flatMap(({ matchExpressions = [] }, index) =>
        problemsWithExpressions(matchExpressions, `spec.protected[${index}].matchExpressions`),
      ),
    ],
  },
  {
    title: "protected selectors have a requirement each",
    cel: "!has(self.protected) || self.protected.all(s, (has(s.matchLabels) && size(s.matchLabels) > 0) || (has(s.matchExpressions) && size(s.matchExpressions) > 0))",
    violations: ({ protected: selectors = [] }) =>
      selectors.flatMap(({ matchLabels = {}, matchExpressions = [] }, index) =>
        Object.keys(matchLabels).length + matchExpressions.length > 0
          ? []
          : [
              {
                path: `spec.protected[${index}]`,
                message:
                  "has no requirement, so it would protect every pod. Write matchLabels or matchExpressions; to forbid everything, write allow: [].",
              },
            ],
      ),
  },
];

function explain(spec: PolicySpec): string {
  if (!spec.enabled) return "Has no effect, as it is not enabled.";
  const where = [
    ...(spec.namespaces ?? []).map((name) => `namespace ${name}`),
    ...(spec.namespaceSelector ? ["namespaces with certain labels"] : []),
  ];
  const limits = [
    ...(spec.allow ? [`allows ${spec.allow.map(({ kind }) => kind).join(", ") || "nothing"}`] : []),
    ...(spec.duration?.max !== undefined ? [`at most ${spec.duration.max} long`] : []),
    ...(spec.budget?.maxPods !== undefined ? [`at most ${spec.budget.maxPods} pods of a workload`] : []),
    ...(spec.budget?.maxPercent !== undefined ? [`at most ${spec.budget.maxPercent} % of a workload`] : []),
    ...(spec.windows ? ["at certain times"] : []),
    ...(spec.protected ? ["never certain pods"] : []),
    ...(spec.requiredAnnotations ? [`with ${spec.requiredAnnotations.map(({ key }) => key).join(", ")}`] : []),
  ];
  return `Limits experiments in ${where.join(", ") || "all namespaces"}: ${limits.join("; ") || "nothing is limited"}.`;
}

export const chaosPolicy: KindDefinition<typeof schema> = {
  group: groups.squall,
  kind: "ChaosPolicy",
  plural: "chaospolicies",
  singular: "chaospolicy",
  shortNames: [],
  scope: "Cluster",
  description: "ChaosPolicy limits what experiments may do in the namespaces that it covers; of several policies the strictest holds.",
  columns: [
    { name: "enabled", jsonPath: ".spec.enabled", type: "boolean" },
    { name: "max-duration", jsonPath: ".spec.duration.max" },
    { name: "max-pods", jsonPath: ".spec.budget.maxPods", type: "integer" },
    { name: "max-percent", jsonPath: ".spec.budget.maxPercent", type: "integer" },
  ],
  status: undefined,
  mayChange: true,
  madeBy: "anyone",
  schema,
  prepare: (spec) => spec,
  rules,
  unsupported: () => [],
  ineffective: () => [],
  explain,
  touches: () => [],
  embedded: () => [],
};

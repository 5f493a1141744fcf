import * as z from "zod";
import { groups } from "../../common/names.ts";
import { cron } from "../blocks/cron.ts";
import { isJsonObject, type JsonObject } from "../json.ts";
import type { EmbeddedSpec, KindDefinition } from "./definition.ts";
import { embeddedAt, embeddedSpec } from "./embedded.ts";
import { embeddedExperiments, embeddedKeyOf } from "./embedded-experiments.ts";
import { type ExperimentName, experimentNames } from "./experiments.ts";

const types = [...experimentNames, "Workflow"] as const;
type ScheduleType = ExperimentName | "Workflow";

const schema = z.strictObject({
  schedule: cron().describe(
    'When: minute, hour, day of month, month and day of week, such as "30 2 * * mon-fri", perhaps with CRON_TZ=ZONE before them, or "@every 1h".',
  ),
  type: z.enum(types).describe("What is made each time; its spec stands beside it."),
  concurrencyPolicy: z.enum(["Forbid", "Allow"]).default("Forbid").describe("Whether one may start while an earlier one is still running."),
  historyLimit: z
    .number()
    .int()
    .min(1)
    .max(2 ** 31 - 1)
    .optional()
    .describe("How many of those made are kept; none that is finished by default."),
  startingDeadlineSeconds: z
    .number()
    .int()
    .min(1)
    .max(Number.MAX_SAFE_INTEGER)
    .nullable()
    .optional()
    .describe("How late one may still start; any time by default."),
  workflow: embeddedSpec("Workflow").optional().describe("Spec of a Workflow, for that type."),
  ...embeddedExperiments,
});

const objectReference = z.object({
  apiVersion: z.string().optional(),
  kind: z.string().optional(),
  name: z.string().optional(),
  namespace: z.string().optional(),
  uid: z.string().optional(),
  resourceVersion: z.string().optional(),
  fieldPath: z.string().optional(),
});
const status = z.object({
  active: z.array(objectReference).optional().meta({ "x-kubernetes-list-type": "atomic" }).describe("What was made and is still there."),
  time: z.string().nullable().optional().meta({ format: "date-time" }).describe("When the last one was made."),
});

const keyOf = (type: ScheduleType): string => (type === "Workflow" ? "workflow" : embeddedKeyOf(type));

/** The embedded spec that counts; others are kept and have no effect, as Chaos Mesh has it. */
function embedded(spec: JsonObject): readonly EmbeddedSpec[] {
  const type = types.find((name) => name === spec["type"]);
  return type === undefined ? [] : embeddedAt(spec, keyOf(type), { kind: type, place: [] });
}

/** Chaos Mesh's own leniency: no policy is Forbid. */
function prepare(spec: JsonObject): JsonObject {
  const { concurrencyPolicy, ...rest } = spec;
  return concurrencyPolicy === "" ? rest : spec;
}

export const schedule: KindDefinition<typeof schema> = {
  kind: "Schedule",
  group: groups.chaos,
  plural: "schedules",
  singular: "schedule",
  shortNames: [],
  scope: "Namespaced",
  columns: [
    { name: "schedule", jsonPath: ".spec.schedule" },
    { name: "type", jsonPath: ".spec.type" },
  ],
  description: "Schedule makes experiments or Workflows again and again.",
  schema,
  status,
  mayChange: true,
  madeBy: "anyone",
  prepare,
  rules: [
    {
      title: "the spec of what is made stands beside type",
      cel: types.map((type) => `(self.type != '${type}' || has(self.${keyOf(type)}))`).join(" && "),
      violations: (spec) =>
        embedded(spec).length === 0
          ? [
              {
                path: `spec.${keyOf(spec.type)}`,
                message: `is missing: it is the spec of the ${spec.type} that is made. Write it beside type.`,
              },
            ]
          : [],
    },
  ],
  unsupported: () => [],
  ineffective: () => [],
  touches: () => [],
  embedded,
  explain: ({ schedule: when, type }) => `Makes a ${type} by the schedule ${JSON.stringify(when)}.`,
};

/** Whether the spec of a Schedule makes Workflows. */
export const isScheduleOfWorkflows = (schedule: unknown): boolean =>
  isJsonObject(schedule) && (schedule["type"] === "Workflow" || schedule["workflow"] !== undefined);

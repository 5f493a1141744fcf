import * as z from "zod";
import { groups } from "../../common/names.ts";
import { objectName, textWith } from "../blocks/scalars.ts";
import { show } from "../text.ts";
import type { KindDefinition } from "./definition.ts";
import { embeddedKeys } from "./embedded-experiments.ts";
import { templateMembers, templateTypes } from "./workflow-template.ts";

const time = () =>
  textWith((text) => (Number.isNaN(Date.parse(text)) ? `${show(text)} is no time. Write one such as "2030-01-01T00:00:00Z".` : undefined), {
    missing: 'is missing. Write a time such as "2030-01-01T00:00:00Z".',
  }).meta({ format: "date-time" });

/** Copies of specs that were judged in the Workflow; judging them once more, with three times their schemas in the CRD, would gain nothing. */
const copied = () => z.record(z.string(), z.unknown());

const schema = z.strictObject({
  templateName: objectName().describe("Template that this node is an instance of."),
  workflowName: objectName().describe("Workflow that it belongs to."),
  type: z.enum(templateTypes).describe("Type of the template."),
  startTime: time().describe("When the node was made."),
  deadline: time().optional().describe("When it is ended."),
  task: copied().optional().describe("Of the template."),
  children: templateMembers.children.describe("Of the template."),
  conditionalBranches: templateMembers.conditionalBranches.describe("Of the template."),
  schedule: copied().optional().describe("Of the template."),
  statusCheck: copied().optional().describe("Of the template."),
  abortWithStatusCheck: templateMembers.abortWithStatusCheck.describe("Of the template."),
  ...Object.fromEntries(embeddedKeys.map(({ key }) => [key, copied().optional().describe("Of the template.")])),
});

const names = () => z.array(z.object({ name: z.string().default("") })).optional();
const status = z.object({
  chaosResource: z
    .object({ apiGroup: z.string().optional(), kind: z.string(), name: z.string() })
    .optional()
    .describe("What the node made."),
  conditionalBranchesStatus: z
    .object({
      branches: z.array(z.object({ target: z.string(), evaluationResult: z.enum(["True", "False", "Unknown"]) })).optional(),
      context: z.array(z.string()).optional().describe("What the expressions were asked about."),
    })
    .optional(),
  activeChildren: names().describe("Children that run, by their age."),
  finishedChildren: names().describe("Children that are over, by their age."),
  conditions: z
    .array(
      z.object({
        type: z.enum(["Accomplished", "DeadlineExceed", "ChaosInjected", "Aborted"]),
        status: z.enum(["True", "False", "Unknown"]),
        reason: z.string(),
      }),
    )
    .optional(),
});

export const workflowNode: KindDefinition<typeof schema> = {
  kind: "WorkflowNode",
  group: groups.chaos,
  plural: "workflownodes",
  singular: "workflownode",
  shortNames: ["wfn"],
  scope: "Namespaced",
  columns: [
    { name: "workflow", jsonPath: ".spec.workflowName" },
    { name: "type", jsonPath: ".spec.type" },
    { name: "accomplished", jsonPath: '.status.conditions[?(@.type=="Accomplished")].status' },
  ],
  description: "WorkflowNode is a template of a Workflow that was started; the controller makes it.",
  schema,
  status,
  mayChange: true,
  madeBy: "controller",
  prepare: (spec) => spec,
  rules: [],
  unsupported: () => [],
  ineffective: () => [],
  // What is embedded is asked about when it is made; a pod is asked about here.
  touches: ({ task }) => (task === undefined ? [] : [{ on: "new pods", path: "spec.task" }]),
  embedded: () => [],
  explain: ({ templateName, workflowName }) => `Runs the template ${templateName} of the Workflow ${workflowName}.`,
};

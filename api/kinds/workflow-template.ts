import * as z from "zod";
import { dnsLabel, objectName, problemWithDuration, textWith } from "../blocks/scalars.ts";
import { labelProblem } from "../blocks/selector.ts";
import { textMap } from "../blocks/text-map.ts";
import { identifier } from "../blocks/web.ts";
import { embeddedSpec } from "./embedded.ts";
import { embeddedExperiments, embeddedKeyOf } from "./embedded-experiments.ts";
import { experimentNames, isExperimentName } from "./experiments.ts";

/** What a template of a Workflow may hold. A WorkflowNode has copies of the same members. */

export const templateTypes = ["Task", "Serial", "Parallel", "Suspend", "Schedule", "StatusCheck", ...experimentNames] as const;
export type TemplateType = (typeof templateTypes)[number];

const MOST_TEMPLATES = 5_000;
const MOST_CHILDREN = 1_000;

const words = () => z.array(z.string().max(64 * 1024)).max(1_000);

/** Containers and volumes are the API server's to judge, when the pod is made; only what every container needs is asked for here. See docs/decisions/task-containers.md. */
const task = z.strictObject({
  container: z
    .looseObject({
      name: dnsLabel("a container").describe("Name of the container."),
      image: identifier('Write the image to run, such as "busybox:1.37".').describe("Image that is run."),
      command: words().optional().describe("What is run instead of the image's entry point."),
      args: words().optional().describe("Arguments."),
    })
    .describe("Container that is run, as in the spec of a pod; all of its other fields, too."),
  volumes: z
    .array(z.looseObject({ name: dnsLabel("a volume").describe("Name of the volume.") }))
    .max(100)
    .optional()
    .describe("Volumes of the pod, as in the spec of a pod."),
  labels: textMap(labelProblem).optional().describe("More labels of the pod."),
});

export const templateMembers = {
  task: task.optional().describe("Pod that is run once, for the type Task."),
  children: z.array(objectName()).max(MOST_CHILDREN).optional().describe("Names of templates, for Serial and Parallel."),
  conditionalBranches: z
    .array(
      z.strictObject({
        target: objectName({ missing: "is missing. Write the name of a template." }).describe("Name of the template that is started."),
        expression: z.string().max(4096).optional().describe('When, such as exitCode == 0 && stdout == "ok".'),
      }),
    )
    .max(100)
    .optional()
    .describe("What follows, by the outcome of the pod, for the type Task."),
  statusCheck: embeddedSpec("StatusCheck").optional().describe("Spec of a StatusCheck, for that type."),
  abortWithStatusCheck: z.boolean().optional().describe("Whether the Workflow is aborted when the check does not succeed."),
  ...embeddedExperiments,
} as const;

export const template = z.strictObject({
  name: objectName({ missing: "is missing. Write the name of the template." }).describe("Name, unique among the templates."),
  templateType: z
    .enum(templateTypes)
    .describe("What it is: Task, Serial, Parallel, Suspend, Schedule, StatusCheck or a kind of experiment."),
  deadline: textWith(problemWithDuration)
    .optional()
    .describe("How long it may take from its start, a Go duration; then it is ended. Suspend needs it."),
  ...templateMembers,
  schedule: embeddedSpec("Schedule", ["workflow"]).optional().describe("Spec of a Schedule, for that type; it cannot make Workflows."),
});
export type Template = z.output<typeof template>;

export const templates = () => z.array(template).min(1).max(MOST_TEMPLATES);

/** The member that holds what a template of this type does; undefined for those that hold nothing of another kind. */
export function memberOf(type: TemplateType): string | undefined {
  if (isExperimentName(type)) return embeddedKeyOf(type);
  switch (type) {
    case "Task":
      return "task";
    case "Schedule":
      return "schedule";
    case "StatusCheck":
      return "statusCheck";
    case "Serial":
    case "Parallel":
    case "Suspend":
      return undefined;
  }
}

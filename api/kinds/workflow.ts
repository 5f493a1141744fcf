import * as z from "zod";
import { groups } from "../../common/names.ts";
import { objectName } from "../blocks/scalars.ts";
import type { FieldError } from "../field-error.ts";
import { isJsonObject, type JsonObject } from "../json.ts";
import type { Rule } from "../rule.ts";
import { listWords, show, suggest } from "../text.ts";
import type { EmbeddedSpec, KindDefinition } from "./definition.ts";
import { embeddedAt } from "./embedded.ts";
import { embeddedKeys } from "./embedded-experiments.ts";
import { isExperimentName } from "./experiments.ts";
import { isScheduleOfWorkflows } from "./schedule.ts";
import { memberOf, type Template, type TemplateType, templates, templateTypes } from "./workflow-template.ts";

const schema = z.strictObject({
  entry: objectName({ missing: "is missing. Write the name of the template that is run first." }).describe(
    "Name of the template that is run first.",
  ),
  templates: templates().describe("What is run, each by its name."),
});
type Spec = z.output<typeof schema>;

const time = () => z.string().meta({ format: "date-time" });
const status = z.object({
  entryNode: z.string().optional().describe("Name of the first WorkflowNode."),
  startTime: time().optional(),
  endTime: time().optional(),
  conditions: z
    .array(
      z.object({
        type: z.enum(["Accomplished", "Scheduled"]),
        status: z.enum(["True", "False", "Unknown"]),
        reason: z.string(),
        startTime: time().optional(),
      }),
    )
    .optional(),
});

const pathOf = (index: number): string => `spec.templates[${index}]`;

/** The specs of other kinds that the templates run. */
function embedded({ templates: all }: JsonObject): readonly EmbeddedSpec[] {
  if (!Array.isArray(all)) return [];
  return all.flatMap((template: unknown, index) => {
    if (!isJsonObject(template)) return [];
    const { templateType, deadline } = template;
    const type = templateTypes.find((name) => name === templateType);
    const key = type === undefined || type === "Task" ? undefined : memberOf(type);
    if (type === undefined || key === undefined) return [];
    // Such a Schedule is refused as it is, and what it makes might hold another one.
    if (type === "Schedule" && isScheduleOfWorkflows(template[key])) return [];
    const limit = { duration: typeof deadline === "string" ? deadline : undefined, path: `${pathOf(index)}.deadline` };
    return embeddedAt(template, key, { kind: type, place: ["templates", index] }).map((part) =>
      isExperimentName(type) ? { ...part, limit } : part,
    );
  });
}

/** A rule that looks at one template at a time. */
function templateRule(title: string, cel: string, find: (template: Template, path: string) => readonly FieldError[]): Rule<Spec> {
  return {
    title,
    cel: `self.templates.all(t, ${cel})`,
    violations: (spec) => spec.templates.flatMap((template, index) => find(template, pathOf(index))),
  };
}

/** Which members a template of a type may have beside those that all have:
 *
 * |                      | task | children | conditionalBranches | experiments | schedule |
 * | -------------------- | ---- | -------- | ------------------- | ----------- | -------- |
 * | Suspend, StatusCheck | no   | no       | no                  | no          | no       |
 * | Serial, Parallel     | no   | yes      | no                  | no          | no       |
 * | Schedule             | no   | no       | no                  | no          | yes      |
 * | Task                 | yes  | no       | yes                 | no          | no       |
 * | experiments          | no   | no       | no                  | yes         | no       |
 */
function isAllowed(member: string, type: TemplateType): boolean {
  if (isExperimentName(type)) return embeddedKeys.some(({ key }) => key === member);
  switch (type) {
    case "Task":
      return member === "task" || member === "conditionalBranches";
    case "Serial":
    case "Parallel":
      return member === "children";
    case "Schedule":
      return member === "schedule";
    case "Suspend":
    case "StatusCheck":
      return false;
  }
}

/** Members that a template has one or none of, by its type; an empty list is as good as none. */
const exclusive = ["task", "children", "conditionalBranches", "schedule", ...embeddedKeys.map(({ key }) => key)];
const lists = ["children", "conditionalBranches"];
const celHas = (member: string): string => (lists.includes(member) ? `has(t.${member}) && size(t.${member}) > 0` : `has(t.${member})`);
const has = (template: JsonObject, member: string): boolean => {
  const value = template[member];
  return value !== undefined && !(Array.isArray(value) && value.length === 0);
};

const rules: readonly Rule<Spec>[] = [
  {
    title: "entry is the name of a template",
    cel: "self.templates.exists(t, t.name == self.entry)",
    isOfWhole: true,
    violations: ({ entry, templates: all }) => (all.some(({ name }) => name === entry) ? [] : [unknownTemplate("spec.entry", entry, all)]),
  },
  {
    title: "names of templates are unique",
    cel: undefined,
    violations: ({ templates: all }) => {
      const seen = new Map<string, number>();
      return all.flatMap(({ name }, index) => {
        const first = seen.get(name);
        if (first === undefined) seen.set(name, index);
        return first === undefined
          ? []
          : [{ path: `${pathOf(index)}.name`, message: `${show(name)} is the name of ${pathOf(first)}, too. Write another one.` }];
      });
    },
  },
  templateRule("Suspend needs a deadline", "t.templateType != 'Suspend' || has(t.deadline)", ({ templateType, deadline }, path) =>
    templateType === "Suspend" && deadline === undefined
      ? [{ path: `${path}.deadline`, message: 'is missing: Suspend lasts until its deadline. Write a duration such as "30s".' }]
      : [],
  ),
  templateRule(
    "a template has what its type is about: task, schedule, statusCheck or the spec of an experiment",
    templateTypes
      .flatMap((type) => {
        const member = memberOf(type);
        return member === undefined ? [] : [`(t.templateType != '${type}' || has(t.${member}))`];
      })
      .join(" && "),
    (template, path) => {
      const member = memberOf(template.templateType);
      if (member === undefined || has(template, member)) return [];
      return [{ path: `${path}.${member}`, message: `is missing: a template of type ${template.templateType} is about it.` }];
    },
  ),
  templateRule(
    "a template has nothing that belongs to another type",
    templateTypes
      .map((type) => {
        const foreign = exclusive.filter((member) => !isAllowed(member, type)).map((member) => `(${celHas(member)})`);
        return `(t.templateType != '${type}' || !(${foreign.join(" || ")}))`;
      })
      .join(" && "),
    (template, path) => {
      const { templateType } = template;
      return exclusive
        .filter((member) => has(template, member) && !isAllowed(member, templateType))
        .map((member) => ({
          path: `${path}.${member}`,
          message: `does not belong into a template of type ${templateType}. Leave it out.`,
        }));
    },
  ),
  {
    title: "children and the targets of conditionalBranches are names of templates",
    cel: undefined,
    isOfWhole: true,
    violations: ({ templates: all }) => {
      const names = new Set(all.map(({ name }) => name));
      return (
        all
          .flatMap(({ children = [], conditionalBranches = [] }, index) => [
            ...children.map((name, at) => ({ name, path: `${pathOf(index)}.children[${at}]` })),
            ...conditionalBranches.map(({ target }, at) => ({ name: target, path: `${pathOf(index)}.conditionalBranches[${at}].target` })),
          ])
          .filter(({ name }) => !names.has(name))
          // Finding the nearest name takes a look at all of them: once is enough.
          .map(({ name, path }, index) => unknownTemplate(path, name, index === 0 ? all : []))
      );
    },
  },
  {
    title: "no template is among its own children, at any depth",
    cel: undefined,
    isOfWhole: true,
    violations: findCircles,
  },
  templateRule(
    "experiments have no duration, as the template has a deadline",
    embeddedKeys.map(({ kind, key }) => `(t.templateType != '${kind}' || !has(t.${key}) || !has(t.${key}.duration))`).join(" && "),
    (template, path) => {
      const key = isExperimentName(template.templateType) ? memberOf(template.templateType) : undefined;
      const members: JsonObject = template;
      const spec = key === undefined ? undefined : members[key];
      if (key === undefined || !isJsonObject(spec) || spec["duration"] === undefined) return [];
      return [
        {
          path: `${path}.${key}.duration`,
          message: `cannot stand in a Workflow. Write deadline: ${show(spec["duration"])} in the template instead.`,
        },
      ];
    },
  ),
  templateRule(
    "a Schedule in a Workflow makes no Workflows",
    "t.templateType != 'Schedule' || !has(t.schedule) || !has(t.schedule.type) || t.schedule.type != 'Workflow'",
    (template, path) =>
      template.templateType === "Schedule" && isScheduleOfWorkflows(template.schedule)
        ? [
            {
              path: `${path}.schedule.${template.schedule?.["type"] === "Workflow" ? "type" : "workflow"}`,
              message: "a Schedule inside a Workflow can make experiments only.",
            },
          ]
        : [],
  ),
];

function unknownTemplate(path: string, name: string, all: readonly Template[]): FieldError {
  return {
    path,
    message: `${show(name)} is the name of no template.${suggest(
      name,
      all.map((template) => template.name),
    )}`,
  };
}

/** Children that lead back to their parent would be started without an end. What branches do is decided while they run, so they may go back. */
function findCircles({ templates: all }: Spec): readonly FieldError[] {
  const indexOf = new Map(all.map(({ name }, index) => [name, index]));
  const childrenOf = (index: number): readonly number[] => {
    const { templateType, children = [] } = all[index] ?? { templateType: "Suspend" };
    return templateType === "Serial" || templateType === "Parallel" ? children.flatMap((child) => indexOf.get(child) ?? []) : [];
  };
  const done = new Set<number>();
  const errors: FieldError[] = [];
  for (const start of all.keys()) walk(start);
  return errors;

  /** Depth first, with a stack of its own: a chain of templates may be thousands long. */
  function walk(start: number): void {
    const way: { readonly index: number; readonly children: readonly number[]; next: number }[] = [];
    const onWay = new Set<number>();
    const enter = (index: number): void => {
      way.push({ index, children: childrenOf(index), next: 0 });
      onWay.add(index);
    };
    if (!done.has(start)) enter(start);
    for (let at = way.at(-1); at !== undefined; at = way.at(-1)) {
      const child = at.children[at.next];
      if (child === undefined) {
        way.pop();
        onWay.delete(at.index);
        done.add(at.index);
        continue;
      }
      at.next += 1;
      if (onWay.has(child)) {
        const position = all[at.index]?.children?.indexOf(all[child]?.name ?? "") ?? 0;
        const circle = [...way.slice(way.findIndex(({ index }) => index === child)).map(({ index }) => index), child];
        errors.push({
          path: `${pathOf(at.index)}.children[${position}]`,
          message: `leads back to itself: ${listCircle(circle.map((index) => all[index]?.name ?? ""))}. It would never end; use a Schedule, or a Task with a branch.`,
        });
      } else if (!done.has(child)) enter(child);
    }
  }
}

/** At most six names, so that the message stays short. */
const listCircle = (names: readonly string[]): string =>
  (names.length > 6 ? [...names.slice(0, 3), "...", ...names.slice(-2)] : names).join(" > ");

export const workflow: KindDefinition<typeof schema> = {
  kind: "Workflow",
  group: groups.chaos,
  plural: "workflows",
  singular: "workflow",
  shortNames: ["wf"],
  scope: "Namespaced",
  columns: [
    { name: "entry", jsonPath: ".spec.entry" },
    { name: "accomplished", jsonPath: '.status.conditions[?(@.type=="Accomplished")].status' },
  ],
  description: "Workflow runs experiments, checks, pauses and pods in an order, one after the other or at the same time.",
  schema,
  status,
  mayChange: true,
  madeBy: "anyone",
  prepare: (spec) => spec,
  rules,
  unsupported: () => [],
  ineffective: () => [],
  touches: (spec) =>
    spec.templates.flatMap(({ task }, index) => (task === undefined ? [] : [{ on: "new pods", path: `${pathOf(index)}.task` } as const])),
  embedded,
  explain: ({ entry, templates: all }) => {
    const types = [...new Set(all.map(({ templateType }) => templateType))];
    return `Runs ${all.length === 1 ? "one template" : `${all.length} templates`} (${listWords(types)}), beginning with ${entry}.`;
  },
};

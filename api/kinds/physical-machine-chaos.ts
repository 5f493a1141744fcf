import * as z from "zod";
import {
  type ConfigCheck,
  type MachineActionName,
  machineActionNames,
  machineActions,
  unreachableConfigurations,
} from "../blocks/machine-actions.ts";
import { durationOrEmpty, objectName } from "../blocks/scalars.ts";
import {
  describeCount,
  expressionRule,
  namesByNamespace,
  selectorBlock,
  selectorSchema,
  touchNamespaces,
  valueRules,
} from "../blocks/selector.ts";
import { httpUrl, withScheme } from "../blocks/web.ts";
import type { FieldError } from "../field-error.ts";
import { isJsonObject, type JsonObject } from "../json.ts";
import { celName, type Rule } from "../rule.ts";
import { listWords } from "../text.ts";
import type { ExperimentDefinition } from "./definition.ts";
import { ineffectiveIn, isGiven, unusedBy } from "./ineffective.ts";
import { describeDuration, duration, remoteCluster } from "./shared.ts";

const MOST_MACHINES = 1_000;

const { namespaces, labelSelectors, expressionSelectors, annotationSelectors, fieldSelectors } = selectorSchema.shape;
const machineSelector = z
  .strictObject({
    namespaces: namespaces.describe("Namespaces to search for PhysicalMachines; all by default."),
    labelSelectors: labelSelectors.describe("Labels that a PhysicalMachine must have."),
    expressionSelectors: expressionSelectors.describe("Requirements on labels; all must hold."),
    annotationSelectors: annotationSelectors.describe("Annotations that a PhysicalMachine must have."),
    fieldSelectors: fieldSelectors.describe("Fields that a PhysicalMachine must have."),
    physicalMachines: namesByNamespace(MOST_MACHINES)
      .optional()
      .describe("Exact PhysicalMachines by namespace; everything else is ignored then."),
  })
  .describe("Which PhysicalMachines are candidates.");

const configurations = Object.fromEntries([
  ...machineActionNames.map((name) => [
    name,
    z.strictObject(machineActions[name].fields).optional().describe(machineActions[name].description),
  ]),
  ...Object.entries(unreachableConfigurations).map(([name, fields]) => [
    name,
    z.strictObject(fields).optional().describe("No action uses it; kept for manifests that have it."),
  ]),
]) as Readonly<Record<MachineActionName, z.ZodOptional<z.ZodObject>>>;

const schema = z.strictObject({
  action: z.enum(machineActionNames).describe("What the agent does; its configuration stands beside it, under the same name."),
  mode: selectorBlock.mode,
  value: selectorBlock.value,
  address: z
    .array(httpUrl("https://10.0.0.7:31768"))
    .max(MOST_MACHINES)
    .optional()
    .describe("URLs of agents, instead of a selector; http:// is put before those without a scheme."),
  selector: machineSelector.optional(),
  uid: z.string().max(253).optional().describe("ID of the experiment on the agent; the experiment's own UID by default."),
  ...configurations,
  duration: durationOrEmpty().optional().describe(duration),
  remoteCluster: objectName().optional().describe(remoteCluster),
});
type Spec = z.output<typeof schema>;

/** Chaos Mesh's own leniency: addresses without a scheme are http ones. */
function prepare(spec: JsonObject): JsonObject {
  const { address } = spec;
  return Array.isArray(address) ? { ...spec, address: address.map(withScheme) } : spec;
}

const configOf = (spec: Spec): JsonObject | undefined => {
  const config: unknown = spec[spec.action];
  return isJsonObject(config) ? config : undefined;
};

/** CEL for `isGiven`. */
function celGiven(config: string, name: string, field: z.ZodType): string {
  const member = `${config}.${celName(name)}`;
  const inner = field instanceof z.ZodOptional ? field.unwrap() : field;
  const isFilled = inner instanceof z.ZodString ? `${member} != ''` : inner instanceof z.ZodNumber ? `${member} != 0` : member;
  return `(has(${member}) && ${isFilled})`;
}

/** For each action: which fields of its configuration it cannot do without. */
const needRules = machineActionNames.flatMap((name): readonly Rule<Spec>[] => {
  const { needs, fields } = machineActions[name];
  if (needs.length === 0) return [];
  const config = `self.${celName(name)}`;
  const groups = needs.map((need) => (typeof need === "string" ? [need] : need));
  const given = groups.map((group) => group.map((field) => celGiven(config, field, fieldOf(fields, field))).join(" || "));
  return [
    {
      title: `${name} needs ${listWords(groups.map((group) => listWords(group, "or")))}`,
      cel: `self.action != '${name}' || !has(${config}) || (${given.map((one) => `(${one})`).join(" && ")})`,
      violations(spec) {
        const found = spec.action === name ? configOf(spec) : undefined;
        if (found === undefined) return [];
        return groups.filter((group) => !group.some((field) => isGiven(found[field]))).map((group) => missing(name, group, found));
      },
    },
  ];
});

function missing(action: MachineActionName, group: readonly string[], config: JsonObject): FieldError {
  const [first = ""] = group;
  const found = group.length > 1 || config[first] === undefined ? "is missing" : config[first] === 0 ? "is 0" : "is empty";
  const others = group.length > 1 ? ` It may be ${listWords(group, "or")}.` : "";
  const { description = "" } = fieldOf(machineActions[action].fields, first);
  return { path: `spec.${action}.${first}`, message: `${found}: ${action} needs it. ${description}${others}` };
}

/** Throws on a field that the action does not have. */
function fieldOf(fields: Readonly<Record<string, z.ZodType>>, name: string): z.ZodType {
  const field = fields[name];
  if (field === undefined) throw new Error(`${name} is no field of the configuration.`);
  return field;
}

/** The rules among the fields of one configuration, for each action that has them. */
const checkRules = machineActionNames.flatMap((name) =>
  machineActions[name].checks.map((check: ConfigCheck): Rule<Spec> => {
    const config = `self.${celName(name)}`;
    return {
      title: `${name}: ${check.title}`,
      cel:
        check.cel === undefined
          ? undefined
          : `self.action != '${name}' || !has(${config}) || (${check.cel.replaceAll(/\bconfig\b/g, config)})`,
      violations(spec) {
        const found = spec.action === name ? configOf(spec) : undefined;
        const problem = found === undefined ? undefined : check.find(found);
        return problem === undefined ? [] : [{ path: `spec.${name}.${problem.name}`, message: problem.message }];
      },
    };
  }),
);

const selectorFields = [
  "namespaces",
  "labelSelectors",
  "expressionSelectors",
  "annotationSelectors",
  "fieldSelectors",
  "physicalMachines",
] as const;
const CEL_ADDRESS = "(has(self.address) && size(self.address) > 0)";
const CEL_SELECTOR = `(has(self.selector) && (${selectorFields.map((name) => `(has(self.selector.${name}) && size(self.selector.${name}) > 0)`).join(" || ")}))`;

const hasAddress = ({ address = [] }: Spec): boolean => address.length > 0;
const hasSelector = ({ selector = {} }: Spec): boolean => selectorFields.some((name) => Object.keys(selector[name] ?? {}).length > 0);

const rules: readonly Rule<Spec>[] = [
  {
    title: "the configuration of the action stands beside it, under its name",
    cel: machineActionNames.map((name) => `(self.action != '${name}' || has(self.${celName(name)}))`).join(" && "),
    violations: (spec) =>
      configOf(spec) === undefined
        ? [
            {
              path: `spec.${spec.action}`,
              message: `is missing: it is the configuration of the action ${spec.action}. Write it as an object.`,
            },
          ]
        : [],
  },
  {
    title: "one of address and selector says where",
    cel: `${CEL_ADDRESS} || ${CEL_SELECTOR}`,
    violations: (spec) =>
      hasAddress(spec) || hasSelector(spec)
        ? []
        : [
            {
              path: "spec.selector",
              message: "is missing or empty, and there is no address either. Write what selects PhysicalMachines, such as namespaces.",
            },
          ],
  },
  {
    title: "only one of address and selector says where",
    cel: `!(${CEL_ADDRESS} && ${CEL_SELECTOR})`,
    violations: (spec) =>
      hasAddress(spec) && hasSelector(spec) ? [{ path: "spec.address", message: "does not go with selector. Leave one of them out." }] : [],
  },
  ...valueRules,
  expressionRule,
  ...needRules,
  ...checkRules,
];

/** Each configuration is for the action of its name, and some are for none. */
const users = Object.fromEntries(Object.keys(configurations).map((name) => [name, machineActionNames.filter((action) => action === name)]));

export const physicalMachineChaos: ExperimentDefinition<typeof schema> = {
  kind: "PhysicalMachineChaos",
  plural: "physicalmachinechaos",
  columns: [
    { name: "action", jsonPath: ".spec.action" },
    { name: "duration", jsonPath: ".spec.duration" },
  ],
  actorOf: () => "controller",
  targetOf: () => "machine",
  selections: () => [],
  isOneShot: () => false,
  schema,
  prepare,
  rules,
  unsupported: () => [],
  ineffective: (spec) => [...ineffectiveIn(spec, { named: "physicalMachines" }), ...unusedBy(spec, users)],
  touches: ({ address = [], selector = {} }) =>
    address.length > 0
      ? [{ on: "cluster", path: "spec.address" }]
      : touchNamespaces(selector.namespaces ?? [], selector.physicalMachines ?? {}, {
          root: "spec.selector",
          named: "physicalMachines",
        }),
  explain: (spec) => {
    const { description } = machineActions[spec.action];
    const where = hasAddress(spec) ? `${spec.address?.length ?? 0} given addresses` : "the machines that are selected";
    return `${description.slice(0, -1)} on ${describeCount(spec, "machine")} of ${where}${describeDuration(spec)}.`;
  },
};

import * as z from "zod";
import type { FieldError } from "../field-error.ts";
import { isJsonObject, type JsonObject } from "../json.ts";
import type { Touch } from "../kinds/definition.ts";
import type { Rule } from "../rule.ts";
import { formatPath } from "../schema-errors.ts";
import { show, suggest } from "../text.ts";
import { isLabelKey, isLabelValue, labelKey, labelValue, namespaceName, objectName, problemWithNamespace, textWith } from "./scalars.ts";
import { mapOf, MOST_ENTRIES, textMap, type TextProblem } from "./text-map.ts";
import { knownWord } from "./texts.ts";

/** The block that picks pods: `selector`, `mode` and `value`. It stands in most kinds, and once more as `target` of NetworkChaos. */

export const podPhases = ["Pending", "Running", "Succeeded", "Failed", "Unknown"] as const;
export const selectableFields = [
  "metadata.name",
  "metadata.namespace",
  "spec.nodeName",
  "spec.restartPolicy",
  "spec.schedulerName",
  "spec.serviceAccountName",
  "status.phase",
  "status.podIP",
  "status.nominatedNodeName",
] as const;
export const operators = ["In", "NotIn", "Exists", "DoesNotExist"] as const;
export const modes = ["one", "all", "fixed", "fixed-percent", "random-max-percent"] as const;
export type Mode = (typeof modes)[number];

export const labelProblem: TextProblem = (key, value) => {
  if (!isLabelKey(key)) return `${show(key)} cannot be a key here. Write one such as "app" or "example.com/tier".`;
  if (!isLabelValue(value)) return `${show(value)} cannot be the value of a label. Write letters, digits, "-", "_" and ".", at most 63.`;
  return undefined;
};

/** Values are compared as they are and shown to people: names, addresses and words of Kubernetes are all that a field can hold. */
const fieldProblem: TextProblem = (key, value) => {
  if (!(selectableFields as readonly string[]).includes(key))
    return `${show(key)} is no field that pods can be selected by. Write one of ${selectableFields.join(", ")}.${suggest(key, selectableFields)}`;
  if (!/^[A-Za-z0-9.:_-]{0,253}$/.test(value))
    return `${show(value)} is nothing that ${key} can be. Write letters, digits, ".", ":", "_" and "-", at most 253.`;
  return undefined;
};

export const labelExpression = z.strictObject({
  key: labelKey().describe("Key of the label."),
  operator: knownWord(operators).describe("How the label is compared: In, NotIn, Exists or DoesNotExist."),
  values: z
    .array(labelValue())
    .max(MOST_ENTRIES)
    .optional()
    .meta({ "x-kubernetes-list-type": "atomic" })
    .describe("What In and NotIn compare with."),
});

const phase = textWith((text) =>
  (podPhases as readonly string[]).includes(text.replace(/^!/, ""))
    ? undefined
    : `${show(text)} is no phase of a pod. Write one of ${podPhases.join(", ")}, or with "!" before it to leave that phase out.${suggest(text.replace(/^!/, ""), podPhases)}`,
);

/** Names of objects by namespace, at most so many in each. */
export const namesByNamespace = (most: number) => mapOf(z.array(objectName()).max(most), { problem: problemWithNamespace });

export const selectorSchema = z
  .strictObject({
    namespaces: z.array(namespaceName()).max(MOST_ENTRIES).optional().describe("Namespaces to search; the experiment's own by default."),
    labelSelectors: textMap(labelProblem).optional().describe("Labels that a pod must have."),
    expressionSelectors: z.array(labelExpression).max(100).optional().describe("Requirements on labels; all must hold."),
    annotationSelectors: textMap(labelProblem).optional().describe("Annotations that a pod must have."),
    fieldSelectors: textMap(fieldProblem).optional().describe("Fields that a pod must have, such as spec.nodeName."),
    nodes: z.array(objectName()).max(MOST_ENTRIES).optional().describe("Names of nodes; pods on these or on those of nodeSelectors."),
    nodeSelectors: textMap(labelProblem).optional().describe("Labels of nodes; pods on these or on those of nodes."),
    podPhaseSelectors: z.array(phase).max(10).optional().describe("Phases that a pod may be in; with ! before it, must not be in."),
    pods: namesByNamespace(5_000).optional().describe("Exact pods by namespace; everything else is ignored then."),
  })
  .describe("Which pods are candidates. Empty: all pods of the experiment's own namespace.");
export type PodSelector = z.output<typeof selectorSchema>;

/** Members of the block, to be spread into a spec. */
export const selectorBlock = {
  selector: selectorSchema.prefault({}),
  mode: z.enum(modes).describe("How many of the candidates: one, all, fixed, fixed-percent or random-max-percent."),
  value: z.string().max(64).optional().describe("The number for fixed, or the percentage for fixed-percent and random-max-percent."),
} as const;

export interface SelectorBlock {
  readonly selector: PodSelector;
  readonly mode: Mode;
  readonly value?: string | undefined;
}

const INTEGER = /^[+-]?\d{1,18}$/;

/** The number that `mode` works with, or undefined where `value` is none; see selectionRules. */
export function parseModeValue({ mode, value = "" }: Pick<SelectorBlock, "mode" | "value">): number | undefined {
  if (!INTEGER.test(value)) return undefined;
  const number = Number(value);
  const isAllowed = mode === "fixed" ? number > 0 : number >= 1 && number <= 100;
  return isAllowed ? number : undefined;
}

/** What holds for `mode` and `value`. */
export const valueRules: readonly Rule<Pick<SelectorBlock, "mode" | "value">>[] = [
  {
    title: "mode fixed needs a value: a whole number above 0",
    cel: "self.mode != 'fixed' || (has(self.value) && self.value.matches('^[+]?0*[1-9][0-9]{0,17}$'))",
    violations: (block) => problemWithValue(block, ["fixed"], 'a whole number above 0, such as "2"'),
  },
  {
    title: "modes fixed-percent and random-max-percent need a value: a whole percentage from 1 to 100",
    cel: "!(self.mode in ['fixed-percent', 'random-max-percent']) || (has(self.value) && self.value.matches('^[+]?0*([1-9][0-9]?|100)$'))",
    violations: (block) =>
      problemWithValue(block, ["fixed-percent", "random-max-percent"], 'a whole percentage from 1 to 100, such as "50"'),
  },
];

type Expressions = readonly z.output<typeof labelExpression>[];

export const expressionRule: Rule<{ readonly selector?: { readonly expressionSelectors?: Expressions | undefined } | undefined }> = {
  title: "in expressionSelectors, In and NotIn need values, and Exists and DoesNotExist take none",
  cel: undefined,
  violations: ({ selector }) => problemsWithExpressions(selector?.expressionSelectors ?? [], "spec.selector.expressionSelectors"),
};

/** What holds for the block in every spec that has it. */
export const selectionRules: readonly Rule<SelectorBlock>[] = [...valueRules, expressionRule];

/** What is wrong with the values of requirements on labels; `path` is that of the list. */
export function problemsWithExpressions(expressions: Expressions, path: string): readonly FieldError[] {
  return expressions.flatMap(({ operator, values = [] }, index) => {
    const needsValues = operator === "In" || operator === "NotIn";
    if (needsValues === values.length > 0) return [];
    const message = needsValues ? `${operator} needs at least one value.` : `${operator} takes no values. Leave them out.`;
    return [{ path: `${path}[${index}].values`, message }];
  });
}

function problemWithValue(
  block: Pick<SelectorBlock, "mode" | "value">,
  modesMeant: readonly Mode[],
  wanted: string,
): readonly FieldError[] {
  const { mode, value } = block;
  if (!modesMeant.includes(mode) || parseModeValue(block) !== undefined) return [];
  return [{ path: "spec.value", message: `${value === undefined ? "is missing" : show(value)}: mode ${mode} needs ${wanted}.` }];
}

/** Fills `selector.namespaces` with the experiment's own namespace where it is empty, as Chaos Mesh does. */
export function fillNamespaces(block: JsonObject, namespace: string): JsonObject {
  const selector = block["selector"] ?? {};
  if (!isJsonObject(selector)) return block;
  const { namespaces } = selector;
  const isEmpty = namespaces === undefined || (Array.isArray(namespaces) && namespaces.length === 0);
  return { ...block, selector: isEmpty ? { ...selector, namespaces: [namespace] } : selector };
}

/** The namespaces that a selector of pods names, in whichever way; the whole cluster where it names none. `root` is the path of the block around it. */
export const touchPods = ({ selector }: Pick<SelectorBlock, "selector">, root = "spec"): readonly Touch[] =>
  touchNamespaces(selector.namespaces ?? [], selector.pods ?? {}, { root: `${root}.selector`, named: "pods" });

/** The same for whatever is selected by namespace, or by name in the member `named`. `root` is the path of the selector. */
export function touchNamespaces(
  namespaces: readonly string[],
  objects: Readonly<Record<string, unknown>>,
  { root, named }: { readonly root: string; readonly named: string },
): readonly Touch[] {
  const touches = [
    ...namespaces.map((namespace, index): Touch => ({ on: "namespace", namespace, path: `${root}.namespaces[${index}]` })),
    ...Object.keys(objects).map((namespace): Touch => ({ on: "namespace", namespace, path: formatPath(`${root}.${named}`, [namespace]) })),
  ];
  return touches.length > 0 ? touches : [{ on: "cluster", path: root }];
}

/** "one pod", "50 % of the machines". */
export function describeCount({ mode, value }: Pick<SelectorBlock, "mode" | "value">, noun: string): string {
  return {
    one: `one ${noun}`,
    all: `all ${noun}s`,
    fixed: `${value ?? "?"} ${noun}s`,
    "fixed-percent": `${value ?? "?"} % of the ${noun}s`,
    "random-max-percent": `up to ${value ?? "?"} % of the ${noun}s`,
  }[mode];
}

/** "2 pods of shop with app=web", for people. */
export function describeSelection(block: SelectorBlock): string {
  const { selector } = block;
  const number = describeCount(block, "pod");
  if (selector.pods && Object.keys(selector.pods).length > 0) return `${number} among those named`;
  const filters = Object.entries({ ...selector.labelSelectors, ...selector.annotationSelectors, ...selector.fieldSelectors }).map(
    ([key, text]) => `${key}=${text}`,
  );
  const rest =
    (selector.expressionSelectors?.length ?? 0) +
    (selector.nodes?.length ?? 0) +
    Object.keys(selector.nodeSelectors ?? {}).length +
    (selector.podPhaseSelectors?.length ?? 0);
  const more = rest > 0 ? ` and ${rest} more requirement${rest === 1 ? "" : "s"}` : "";
  return `${number} of ${(selector.namespaces ?? []).join(", ") || "its namespace"}${filters.length > 0 ? ` with ${filters.join(", ")}` : ""}${more}`;
}

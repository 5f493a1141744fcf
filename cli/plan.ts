import { readFile } from "node:fs/promises";
import { parseAllDocuments } from "yaml";
import { isJsonObject, type JsonObject } from "../api/json.ts";
import { isKindName, type KindName, kinds } from "../api/kinds/registry.ts";
import { type ActPlan, planAct, type PlannedSelection } from "../api/plan.ts";
import { type Act, actsOfJudged } from "../api/policy/acts.ts";
import { workloadOf } from "../api/policy/budget.ts";
import { readPolicy } from "../api/policy/read.ts";
import { findViolations, type Policy } from "../api/policy/violations.ts";
import { describeErrors } from "../api/field-error.ts";
import { optInOf } from "../api/opt-in.ts";
import { podId } from "../api/selection.ts";
import { isKubeError } from "../kube/errors.ts";
import type { Kube } from "../kube/kube.ts";
import { chaosPolicies } from "../kube/limit-resources.ts";
import { namespaces as namespaceResource, nodes, type Pod, pods } from "../kube/resources.ts";
import { renderTable } from "./table.ts";

/** What the experiments of a file would do now: the shape of `squall plan -o json`. */
export interface PlannedFile {
  readonly experiments: readonly PlannedExperiment[];
  /** Whether whoever asks may list policies. If not, what they say is told when the file is applied. */
  readonly arePoliciesVisible: boolean;
  /** Objects that are not Squall's, such as `apps/v1 Deployment`. */
  readonly others: readonly string[];
}

export interface PlannedExperiment {
  /** `NetworkChaos shop/slow`, with the place of an experiment that is inside another object. */
  readonly experiment: string;
  readonly explanation: string;
  /** What policies say against it; budgets as if no other experiment ran. */
  readonly violations: readonly string[];
  readonly policies: readonly string[];
  readonly selections: readonly {
    readonly selector: "spec.selector" | "spec.target.selector";
    /** Whether its pods are faulted, and not only the other side. */
    readonly isFaulted: boolean;
    readonly least: number;
    readonly most: number;
    readonly pods: readonly PlannedPod[];
  }[];
  readonly workloads: readonly { readonly workload: string; readonly size: number; readonly most: number }[];
}

export interface PlannedPod {
  /** NAMESPACE/POD. */
  readonly pod: string;
  readonly node: string;
  readonly workload: string;
  /** "candidate": chance decides; "skipped": never, for `reason`. */
  readonly verdict: "target" | "candidate" | "skipped";
  readonly reason?: string;
  readonly message?: string;
}

/**
 * Plans every experiment of a file (`-`: standard input) with the rights of whoever asks. Throws an Error that names all mistakes of a file that
 * would be refused, and what the API server says where a right is missing.
 */
export async function planFile(
  file: string,
  { kube, namespace, now }: { readonly kube: Kube; readonly namespace: string; readonly now: Date },
): Promise<PlannedFile> {
  const { ours, others } = parseObjects(await readManifest(file), file);
  const policies = await readPolicies(kube);
  const around = { kube, namespace, now, policies: policies === "not visible" ? [] : policies };
  const experiments = (await Promise.all(ours.map((object) => planObject(object, around)))).flat();
  return { experiments, arePoliciesVisible: policies !== "not visible", others };
}

async function readManifest(file: string): Promise<string> {
  try {
    return await readFile(file === "-" ? "/dev/stdin" : file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT")
      throw new Error(`There is no file ${file}.`, { cause: error });
    throw error;
  }
}

interface OurObject {
  readonly kind: KindName;
  readonly object: JsonObject;
}

function parseObjects(text: string, file: string): { readonly ours: readonly OurObject[]; readonly others: readonly string[] } {
  const documents = parseAllDocuments(text);
  const problems = documents.flatMap(({ errors }) => errors.map(({ message }) => message));
  if (problems.length > 0) throw new Error(`${file} is no YAML. ${problems.join("\n")}`);
  const objects = documents.map((document): unknown => document.toJS()).filter(isJsonObject);
  const parsed = objects.map(parseObject);
  const ours = parsed.filter((object) => typeof object !== "string");
  const others = parsed.filter((object) => typeof object === "string");
  if (ours.length > 0) return { ours, others };
  throw new Error(`${file} has no object that Squall knows. Its kinds: ${others.join(", ") || "none"}.`);
}

/** The object with its kind; of one that is not ours, what it is: others have a Workflow or a Schedule, too. */
function parseObject(object: JsonObject): OurObject | string {
  const { apiVersion, kind } = object;
  if (typeof kind === "string" && isKindName(kind) && apiVersion === `${kinds[kind].group}/v1alpha1`) return { kind, object };
  return [apiVersion, kind].filter((text) => typeof text === "string").join(" ") || "none";
}

async function readPolicies(kube: Kube): Promise<readonly Policy[] | "not visible"> {
  try {
    return (await kube.list(chaosPolicies)).items.flatMap((stored) => readPolicy(stored) ?? []);
  } catch (error) {
    if (isKubeError(error, "forbidden")) return "not visible";
    // Squall is not installed there, or an earlier version.
    if (isKubeError(error, "not-found")) return [];
    throw error;
  }
}

interface Around {
  readonly kube: Kube;
  readonly namespace: string;
  readonly now: Date;
  readonly policies: readonly Policy[];
}

async function planObject({ kind, object }: OurObject, { kube, namespace, now, policies }: Around): Promise<readonly PlannedExperiment[]> {
  const metadata = isJsonObject(object["metadata"]) ? object["metadata"] : {};
  const home = typeof metadata["namespace"] === "string" ? metadata["namespace"] : namespace;
  const name = `${kind} ${home}/${typeof metadata["name"] === "string" ? metadata["name"] : "?"}`;
  const judged = kinds[kind].judge(object, { namespace: home });
  if (!judged.ok) throw new Error(`${name} would be refused.\n${describeErrors(judged.errors)}`);
  const acts = actsOfJudged(kind, judged).filter(({ selections }) => selections.length > 0);
  const touched = [...new Set(acts.flatMap((act) => (act.namespaces === "all" ? [] : act.namespaces)))];
  const [found, listed, spaces] = await Promise.all([
    Promise.all(touched.map((space) => kube.list(pods, { namespace: space }))),
    acts.some(usesNodes) ? kube.list(nodes) : { items: [] },
    Promise.all(touched.map((space) => kube.get(namespaceResource, { name: space }))),
  ]);
  const labelsBy = new Map(spaces.map(({ metadata: space }) => [space.name, space.labels ?? {}]));
  const labelsOf = (space: string): Readonly<Record<string, string>> | undefined => labelsBy.get(space);
  const around = {
    pods: found.flatMap(({ items }) => items),
    nodes: listed.items,
    policies,
    labelsOf,
    optInOf: (space: string) => optInOf(space, labelsOf(space)),
  };
  const annotations = isJsonObject(metadata["annotations"]) ? metadata["annotations"] : {};
  const violations = findViolations(policies, { acts, annotations: textsOf(annotations) }, { now, labelsOf });
  return acts.map((act) => {
    // What concerns no experiment in particular, such as an annotation, concerns each.
    const own = violations.filter(({ path }) => isOf(act, path) || !acts.some((other) => isOf(other, path)));
    return describeAct(planAct<Pod>(act, around), {
      experiment: act.path === "spec" ? name : `${name} ${act.path} (${act.kind})`,
      explanation: judged.explanation,
      violations: [...own, ...judged.unsupported].map(({ path, message }) => `${path}: ${message}`),
    });
  });
}

const isOf = ({ path, durationPath }: Act, mistake: string): boolean =>
  mistake === durationPath || mistake === path || mistake.startsWith(`${path}.`);

const usesNodes = ({ selections }: Act): boolean =>
  selections.some(({ block: { selector } }) => Object.keys(selector.nodeSelectors ?? {}).length > 0);

const textsOf = (all: JsonObject): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(all).flatMap(([key, value]) => (typeof value === "string" ? [[key, value]] : [])));

function describeAct(
  { selections, shares, policies, tooSmall }: ActPlan<Pod>,
  { violations, ...head }: Pick<PlannedExperiment, "experiment" | "explanation" | "violations">,
): PlannedExperiment {
  const budgets = tooSmall.map(
    (name) => `Policy ${name} (spec.budget) allows fewer pods of one workload than may be picked: it may wait with BudgetExceeded.`,
  );
  return {
    ...head,
    violations: [...violations, ...budgets],
    policies,
    selections: selections.map((selection) => ({
      selector: selection.key === "." ? "spec.selector" : "spec.target.selector",
      isFaulted: selection.isFaulted,
      least: selection.least,
      most: selection.most,
      pods: podsOf(selection),
    })),
    workloads: shares,
  };
}

function podsOf({ candidates, skipped, isRandom }: PlannedSelection<Pod>): readonly PlannedPod[] {
  const describe = (pod: Pod) => ({ pod: podId(pod), node: pod.spec.nodeName ?? "", workload: workloadOf(pod) });
  return [
    ...candidates.map((pod): PlannedPod => ({ ...describe(pod), verdict: isRandom ? "candidate" : "target" })),
    ...skipped.map(({ pod, skip }): PlannedPod => ({ ...describe(pod), verdict: "skipped", ...skip })),
  ];
}

/** As text, for people. */
export function renderPlan({ experiments, arePoliciesVisible, others }: PlannedFile): string {
  return [
    ...(experiments.length === 0 ? ["Nothing in this file faults pods."] : experiments.map(renderExperiment)),
    ...(arePoliciesVisible ? [] : ["You may not list ChaosPolicies: whether they allow this is told when it is applied."]),
    ...(others.length === 0 ? [] : [`Not Squall's, and left out: ${others.join(", ")}.`]),
  ].join("\n\n");
}

function renderExperiment({ experiment, explanation, violations, policies, selections, workloads }: PlannedExperiment): string {
  const rows = selections.flatMap(({ selector, isFaulted, pods: all }) =>
    all.map(({ pod, node, workload, verdict, reason, message }) => [
      selector,
      pod,
      node,
      workload.slice(workload.indexOf("/") + 1),
      verdict === "target" && !isFaulted ? "other side" : verdict,
      reason === undefined ? "" : `${reason}: ${message ?? ""}`,
    ]),
  );
  return [
    `${experiment}: ${explanation}`,
    ...selections.map(describeSelection),
    ...workloads.map(({ workload, size, most }) => `  up to ${most} of ${size} pods of ${workload} (${Math.round((100 * most) / size)} %)`),
    ...(policies.length > 0 && violations.length === 0 ? [`  allowed by ${policies.join(", ")}`] : []),
    ...violations.map((violation) => `  REFUSED OR WAITS: ${violation}`),
    ...(rows.length > 0 ? [renderTable(["SELECTOR", "POD", "NODE", "WORKLOAD", "VERDICT", "WHY"], rows)] : []),
  ].join("\n");
}

function describeSelection({ selector, pods: all, least, most }: PlannedExperiment["selections"][number]): string {
  const eligible = all.filter(({ verdict }) => verdict !== "skipped").length;
  const picked = least === most ? `${most}` : `${least} to ${most}`;
  const chance = eligible > least ? ", by chance" : "";
  return `  ${selector}: ${all.length} match, ${eligible} can be picked, ${picked} ${most === 1 ? "is" : "are"}${chance}`;
}

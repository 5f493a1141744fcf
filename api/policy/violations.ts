import { parseDurationMs } from "../../common/duration.ts";
import { type LabelSelector, matchesLabels } from "../blocks/label-selector.ts";
import { describeWindow, minutesOpen } from "../blocks/time-window.ts";
import type { FieldError } from "../field-error.ts";
import type { PolicySpec } from "../kinds/chaos-policy.ts";
import { formatPath } from "../schema-errors.ts";
import { show } from "../text.ts";
import type { Act } from "./acts.ts";
import { matchesPattern } from "./pattern.ts";

/** One that is enabled. */
export interface Policy {
  readonly name: string;
  readonly spec: PolicySpec;
  /** Why it cannot be read; it allows nothing then. */
  readonly problem?: string | undefined;
}

export interface Around {
  readonly now: Date;
  /** Labels of a namespace; undefined where it is not known. */
  readonly labelsOf: (namespace: string) => Readonly<Record<string, string>> | undefined;
}

/** The policies that have a say where these namespaces are touched. */
export function policiesFor(
  policies: readonly Policy[],
  namespaces: readonly string[] | "all",
  labelsOf: Around["labelsOf"],
): readonly Policy[] {
  return policies.filter(({ spec }) => namespaces === "all" || namespaces.some((name) => covers(spec, name, labelsOf(name))));
}

function covers({ namespaces, namespaceSelector }: PolicySpec, name: string, labels: Readonly<Record<string, string>> = {}): boolean {
  if (namespaces === undefined && namespaceSelector === undefined) return true;
  return (namespaces?.includes(name) ?? false) || (namespaceSelector !== undefined && matchesLabels(namespaceSelector, labels));
}

/**
 * What policies say against an object: against each of its acts, and against its annotations. Several policies: every violation of each,
 * so that the strictest holds. Budgets and protected pods are judged when targets are picked, and not here.
 */
export function findViolations(
  policies: readonly Policy[],
  object: { readonly acts: readonly Act[]; readonly annotations: Readonly<Record<string, string>> | "not asked" },
  around: Around,
): readonly FieldError[] {
  const { acts, annotations } = object;
  const concerned = policiesFor(
    policies,
    acts.some(({ namespaces }) => namespaces === "all") ? "all" : acts.flatMap(({ namespaces }) => namespaces),
    around.labelsOf,
  );
  return [
    ...acts.flatMap((act) =>
      policiesFor(concerned, act.namespaces, around.labelsOf).flatMap((policy) => [
        ...judgeAction(policy, act),
        ...judgeDuration(policy, act),
        ...judgeTime(policy, act, around.now),
      ]),
    ),
    ...(annotations === "not asked" ? [] : concerned.flatMap((policy) => judgeAnnotations(policy, annotations))),
  ];
}

function judgeAction({ name, spec: { allow }, problem }: Policy, { kind, action, path }: Act): readonly FieldError[] {
  if (problem !== undefined)
    return [{ path: "kind", message: `Policy ${name} cannot be read, so nothing is allowed until it is mended or deleted. ${problem}` }];
  if (allow === undefined) return [];
  const entries = allow.filter((entry) => entry.kind === kind);
  if (entries.length === 0) {
    const kinds = [...new Set(allow.map((entry) => entry.kind))];
    return [
      {
        path: path === "spec" ? "kind" : path,
        message: `${kind} is not allowed by policy ${name} (spec.allow), which allows ${kinds.join(", ") || "nothing"}.`,
      },
    ];
  }
  const actions = entries.flatMap((entry) => entry.actions ?? []);
  if (action === undefined || entries.some((entry) => entry.actions === undefined) || actions.includes(action)) return [];
  return [
    {
      path: `${path}.action`,
      message: `${show(action)} is not allowed by policy ${name} (spec.allow), which allows ${kind} ${actions.join(", ")}.`,
    },
  ];
}

function judgeDuration({ name, spec: { duration } }: Policy, { isOneShot, durationMs, durationPath: path }: Act): readonly FieldError[] {
  if (duration === undefined || isOneShot) return [];
  const { max, required } = duration;
  const example = max ?? "5m";
  if (durationMs === undefined) {
    // Without an end there is no duration that would be short enough.
    if (!required && max === undefined) return [];
    return [
      {
        path,
        message: `is missing, and policy ${name} (spec.duration) asks for one${max === undefined ? "" : ` of at most ${max}`}. Write one such as ${show(example)}.`,
      },
    ];
  }
  if (max === undefined || durationMs <= (parseDurationMs(max) ?? 0)) return [];
  return [{ path, message: `is longer than policy ${name} (spec.duration.max) allows. Write at most ${show(max)}.` }];
}

/** Schedules and Workflows are made at any time: what they bring about is judged when it is made. */
function judgeTime({ name, spec: { windows } }: Policy, { path }: Act, now: Date): readonly FieldError[] {
  if (windows === undefined || path !== "spec" || windows.some((window) => minutesOpen(window, now) !== undefined)) return [];
  return [
    {
      path: "metadata.creationTimestamp",
      message: `Policy ${name} (spec.windows) allows no experiments at this time, ${now.toISOString().slice(0, 16)}Z. Allowed: ${windows.map(describeWindow).join("; ")}.`,
    },
  ];
}

const LONGEST_VALUE = 4_096;

function judgeAnnotations(
  { name, spec: { requiredAnnotations = [] } }: Policy,
  annotations: Readonly<Record<string, string>>,
): readonly FieldError[] {
  return requiredAnnotations.flatMap(({ key, pattern = "*" }) => {
    const path = formatPath("metadata.annotations", [key]);
    const value = Object.hasOwn(annotations, key) ? (annotations[key] ?? "") : "";
    const rule = `policy ${name} (spec.requiredAnnotations)`;
    const like = pattern === "*" ? "" : ` that looks like ${show(pattern)}`;
    if (value === "") return [{ path, message: `is missing, and ${rule} asks for one${like}.` }];
    if (value.length <= LONGEST_VALUE && matchesPattern(value, pattern)) return [];
    return [{ path, message: `${show(value)} is refused by ${rule}. Write one${like || ` of at most ${LONGEST_VALUE} characters`}.` }];
  });
}

/** Minutes until one of the windows that are open now closes; undefined where none limits the time. */
export function minutesLeft(policies: readonly Policy[], now: Date): number | undefined {
  const ends = policies.flatMap(({ spec: { windows } }) =>
    windows ? [Math.max(...windows.map((window) => minutesOpen(window, now) ?? 0))] : [],
  );
  return ends.length === 0 ? undefined : Math.min(...ends);
}

/** The policy that keeps a pod from ever being a target; undefined where none does. */
export function protectorOf(
  policies: readonly Policy[],
  pod: { readonly namespace: string; readonly labels?: Readonly<Record<string, string>> | undefined },
  labelsOf: Around["labelsOf"],
): Policy | undefined {
  const isMeant = (selector: LabelSelector): boolean => matchesLabels(selector, pod.labels);
  return policiesFor(policies, [pod.namespace], labelsOf).find(({ spec }) => spec.protected?.some(isMeant));
}

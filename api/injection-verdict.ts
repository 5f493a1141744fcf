import { isJsonObject } from "./json.ts";
import type { Quality } from "./quality-of-service.ts";

/** Who refused a pod with a sidecar. */
export type Refuser = "PodSecurity" | "ResourceQuota" | "LimitRange" | "AdmissionPolicy" | "Other";

/** What the policies of a namespace say to pods of one class that have a sidecar. */
export type ClassVerdict =
  | { readonly is: "allowed" }
  | { readonly is: "refused"; readonly by: Refuser; readonly message: string }
  /** A pod without a sidecar is refused as well, so nothing can be said. Such pods are injected. */
  | { readonly is: "unknown"; readonly message: string };

/** A class of pods, and the same with a volume that the sidecar serves: then it has more resources and capabilities. */
export type PodClass = Quality | `${Quality} with volumes`;

/** By class, for a sidecar has other resources in each. A class that is missing was not tried. */
export type NamespaceVerdict = { readonly [C in PodClass]?: ClassVerdict };

const classes: readonly PodClass[] = [
  "BestEffort",
  "Burstable",
  "Guaranteed",
  "BestEffort with volumes",
  "Burstable with volumes",
  "Guaranteed with volumes",
];
const refusers: readonly Refuser[] = ["PodSecurity", "ResourceQuota", "LimitRange", "AdmissionPolicy", "Other"];
/** What kubectl shows of a warning, with some room for who says it about what. */
const LONGEST_MESSAGE = 160;

/** For people and for `parseVerdict`: `{"BestEffort":"allowed","Burstable":"refused by LimitRange: maximum memory usage …"}`. */
export function renderVerdict(verdict: NamespaceVerdict): string {
  const texts = classes.flatMap((podClass) => {
    const found = verdict[podClass];
    return found === undefined ? [] : [[podClass, renderClass(found)] as const];
  });
  return JSON.stringify(Object.fromEntries(texts));
}

function renderClass(verdict: ClassVerdict): string {
  switch (verdict.is) {
    case "allowed":
      return "allowed";
    case "refused":
      return `refused by ${verdict.by}: ${verdict.message}`;
    case "unknown":
      return `unknown: ${verdict.message}`;
  }
}

/** Reads the annotation back. What cannot be read says nothing, and where nothing is said pods are injected. */
export function parseVerdict(text: string | undefined): NamespaceVerdict {
  const found = parseJson(text ?? "");
  if (!isJsonObject(found)) return {};
  return Object.fromEntries(
    classes.flatMap((podClass) => {
      const verdict = parseClass(found[podClass]);
      return verdict === undefined ? [] : [[podClass, verdict]];
    }),
  );
}

function parseClass(text: unknown): ClassVerdict | undefined {
  if (typeof text !== "string") return undefined;
  if (text === "allowed") return { is: "allowed" };
  const [, by, refusal] = /^refused by (\w+): (.*)$/s.exec(text) ?? [];
  if (by !== undefined) return { is: "refused", by: refusers.find((known) => known === by) ?? "Other", message: refusal ?? "" };
  const [, message] = /^unknown: (.*)$/s.exec(text) ?? [];
  return message === undefined ? undefined : { is: "unknown", message };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Whoever wrote that, it is no verdict of ours.
    return undefined;
  }
}

/** Who refused a pod, by the words of the API server; see plugin/pkg/admission in Kubernetes and its resourcequota plugin. */
const words: readonly (readonly [RegExp, Refuser])[] = [
  [/violates PodSecurity/, "PodSecurity"],
  [/exceeded quota|failed quota|status unknown for quota/, "ResourceQuota"],
  [/(?:maximum|minimum) [\w./-]+ usage per (?:Container|Pod) is|limit to request ratio per (?:Container|Pod) is/, "LimitRange"],
  [/admission webhook "|ValidatingAdmissionPolicy '/, "AdmissionPolicy"],
];

/** Reads a refusal of the API server. */
export function parseRefusal(said: string): { readonly by: Refuser; readonly message: string } {
  const by = words.find(([pattern]) => pattern.test(said))?.[1] ?? "Other";
  const message = said.replace(/^pods "[^"]*" is forbidden: /, "").replaceAll(/\s+/g, " ");
  return { by, message: message.length <= LONGEST_MESSAGE ? message : `${message.slice(0, LONGEST_MESSAGE - 1)}…` };
}

/** What the API server said to one sample pod. */
export type Trial =
  | { readonly is: "admitted"; readonly quality: Quality; readonly hasSidecar: boolean }
  | { readonly is: "refused"; readonly said: string };

export interface FoundVerdict {
  readonly podClass: PodClass;
  readonly verdict: ClassVerdict;
}

/** What follows from the trials of a pod of this class: without a sidecar, with one, and with one that serves a volume. */
export function judgeTrials(
  quality: Quality,
  { plain, injected, served }: { readonly plain: Trial; readonly injected: Trial; readonly served: Trial },
): readonly FoundVerdict[] {
  const { actual, verdict } = judgeSidecar(quality, { plain, injected });
  // A class that gets no sidecar has none that serves a volume, so nothing is to be said of it.
  if (injected.is === "refused") return [{ podClass: actual, verdict }];
  return [
    { podClass: actual, verdict },
    {
      podClass: `${actual} with volumes`,
      verdict: served.is === "refused" ? { is: "refused", ...parseRefusal(served.said) } : verdict,
    },
  ];
}

function judgeSidecar(
  quality: Quality,
  { plain, injected }: { readonly plain: Trial; readonly injected: Trial },
): { readonly actual: Quality; readonly verdict: ClassVerdict } {
  // Defaults of a LimitRange may have put it into another class.
  const actual = plain.is === "admitted" ? plain.quality : quality;
  if (injected.is === "admitted") {
    const message = "the injector left the sample pod as it was";
    return { actual, verdict: injected.hasSidecar ? { is: "allowed" } : { is: "unknown", message } };
  }
  if (plain.is === "refused") {
    const { by, message } = parseRefusal(plain.said);
    return { actual, verdict: { is: "unknown", message: `without a sidecar it is refused, too, by ${by}: ${message}` } };
  }
  return { actual, verdict: { is: "refused", ...parseRefusal(injected.said) } };
}

/**
 * The verdict over all trials: of several for one class the worst holds. Where nothing is known because a quota is used up for now, what was
 * known before goes on to hold.
 */
export function joinVerdicts(before: NamespaceVerdict, found: readonly FoundVerdict[]): NamespaceVerdict {
  const rank = { refused: 2, allowed: 1, unknown: 0 } as const;
  return Object.fromEntries(
    classes.flatMap((podClass) => {
      const [worst] = found.filter((one) => one.podClass === podClass).toSorted((a, b) => rank[b.verdict.is] - rank[a.verdict.is]);
      if (worst === undefined) return [];
      const isUsedUp = worst.verdict.is === "unknown" && worst.verdict.message.includes("by ResourceQuota: exceeded quota");
      return [[podClass, isUsedUp ? (before[podClass] ?? worst.verdict) : worst.verdict]];
    }),
  );
}

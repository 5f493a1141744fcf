import type { NamespaceVerdict } from "../api/injection-verdict.ts";
import type { PodExplanation } from "../api/pod-explanation.ts";
import { SYSTEM_NAMESPACE } from "../common/names.ts";
import { renderTable } from "./table.ts";
import type { WebhookState } from "./webhook-state.ts";

/** One pod that is labelled, or that late join reaches, and what is known of it. */
export interface Patient {
  readonly pod: string;
  readonly finding:
    | { readonly is: "injected"; readonly explanation: PodExplanation }
    | { readonly is: "unreachable"; readonly why: string }
    /** It has no sidecar, and its namespace allows late join. */
    | { readonly is: "late-join"; readonly node: string | undefined }
    /** `why` is what the injector wrote on the pod, if anything. */
    | { readonly is: "not-injected"; readonly isNamespaceOptedIn: boolean; readonly why: string | undefined };
}

/** One namespace, and what pods get there from now on. */
export interface Diagnosis {
  readonly namespace: string;
  readonly webhook: WebhookState;
  /** Of the namespace's policies. */
  readonly verdict: NamespaceVerdict;
  readonly pods: readonly Patient[];
}

/** What each of these pods can do, and what to do about those that cannot do anything. */
export function renderDiagnosis({ namespace, webhook, verdict, pods }: Diagnosis): string {
  const outlook = [...explainWebhook(webhook), ...explainVerdict(verdict, namespace)];
  return [...(outlook.length > 0 ? [...outlook, ""] : []), renderPatients(pods, namespace)].join("\n");
}

function explainWebhook(webhook: WebhookState): readonly string[] {
  if (webhook !== "away") return [];
  return [
    `No webhook is ready: until one is, new pods get no sidecar, and experiments are refused. See: kubectl get deployment,pods -n ${SYSTEM_NAMESPACE} -l app=squall-webhook`,
  ];
}

/** What the namespace's policies say to sidecars, one line for each class of pods of which something is to be said. */
function explainVerdict(verdict: NamespaceVerdict, namespace: string): readonly string[] {
  return Object.entries(verdict).flatMap(([podClass, found]) => {
    const [quality, rest] = podClass.split(" with ");
    if (rest !== undefined)
      // What else is to be said is said of the same pods without volumes.
      return found.is === "refused"
        ? [
            `${namespace} refuses ${quality} pods with a sidecar that serves volumes, so their volumes are left as they are. ${found.by}: ${found.message}`,
          ]
        : [];
    switch (found.is) {
      case "allowed":
        return [];
      case "refused":
        return [`${namespace} refuses ${quality} pods with a sidecar, so they get none. ${found.by}: ${found.message}`];
      case "unknown":
        return [`Whether ${namespace} would refuse ${quality} pods with a sidecar is not known, so they get one: ${found.message}`];
    }
  });
}

function renderPatients(patients: readonly Patient[], namespace: string): string {
  if (patients.length === 0)
    return `No pod in ${namespace} has the label squall.dev/inject=enabled. Label namespace and pods: kubectl label namespace ${namespace} squall.dev/inject=enabled`;
  const rows = patients.map(({ pod, finding }) => [pod, ...describe(finding)]);
  const hints = [...new Set(patients.flatMap(({ finding }) => hintsFor(finding, namespace)))];
  return [renderTable(["POD", "SIDECAR", "ENGINES", "FAMILIES", "NOTES"], rows), ...(hints.length > 0 ? ["", ...hints] : [])].join("\n");
}

function describe(finding: Patient["finding"]): readonly string[] {
  switch (finding.is) {
    case "injected": {
      const { version, passport, faults } = finding.explanation;
      const notes = [
        ...passport.missing,
        ...(passport.hasMeshRedirect ? ["a mesh redirects connections"] : []),
        ...(passport.hasBpf ? ["an eBPF program on a device may send packets past every rule"] : []),
        ...(faults.length > 0 ? [`${faults.length} ${faults.length === 1 ? "fault" : "faults"} in force`] : []),
      ];
      return [version, passport.engines.join(","), passport.families.join(","), notes.join("; ")];
    }
    case "unreachable":
      return ["?", "", "", finding.why];
    case "late-join":
      return ["late join", "", "", `network faults by the daemon of ${finding.node === undefined ? "its node" : `node ${finding.node}`}`];
    case "not-injected":
      return [
        "none",
        "",
        "",
        finding.why ??
          (finding.isNamespaceOptedIn
            ? "made before it or its namespace was labelled, or while no webhook answered"
            : "its namespace has not opted in"),
      ];
  }
}

function hintsFor(finding: Patient["finding"], namespace: string): readonly string[] {
  if (finding.is !== "not-injected") return [];
  if (!finding.isNamespaceOptedIn) return [`Opt the namespace in: kubectl label namespace ${namespace} squall.dev/inject=enabled`];
  return [
    `Pods get their sidecar when they are made. Make them anew: kubectl rollout restart deployment -n ${namespace}. Codes are in docs/reasons.md.`,
    `Where nobody can restart them, allow late join: kubectl label namespace ${namespace} squall.dev/late-join=enabled`,
  ];
}

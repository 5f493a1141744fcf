import type { ExplainedVolume, PodExplanation } from "../api/pod-explanation.ts";
import { isKubeError } from "../kube/errors.ts";
import { renderTable } from "./table.ts";

/** Why a sidecar could not be asked, and what to do. */
export function explainRefusal(error: unknown, { namespace, pod }: { readonly namespace: string; readonly pod: string }): string {
  if (isKubeError(error, "not-found")) return `There is no pod ${pod} in namespace ${namespace}. See: kubectl get pods -n ${namespace}`;
  if (isKubeError(error, "forbidden"))
    return `You have no right to create pods/exec in namespace ${namespace}. See: kubectl auth can-i create pods/exec -n ${namespace}`;
  if (isKubeError(error, "invalid"))
    return `Pod ${namespace}/${pod} has no Squall sidecar, or is on no node yet. Why: npm run squall -- -n ${namespace} doctor`;
  return error instanceof Error ? error.message : String(error);
}

/** What is in force on a pod, as text for a terminal. */
export function renderExplanation(pod: string, { faults, classes, passport, version, volumes, operations }: PodExplanation): string {
  const lines = [
    `${pod}: sidecar ${version}, iptables-${passport.iptables}, ${passport.families.join(" and ")}, engines ${passport.engines.join(", ") || "none"}`,
  ];
  if (volumes.length > 0) lines.push(`Volumes behind FUSE: ${volumes.map(renderVolume).join(", ")}`);
  if (faults.length === 0) return [...lines, "No fault is in force on this pod."].join("\n");
  lines.push(
    "",
    renderTable(
      ["EXPERIMENT", "STATE", "REASON"],
      faults.map(({ experiment, state, reason, message }) => [
        experiment,
        state,
        [reason, message].filter((text) => text !== "").join(": "),
      ]),
    ),
  );
  if (classes.length > 0) {
    const rows = classes.map(({ way, matches, experiments, effect, by, packets }) => [
      way,
      matches,
      experiments.join(" + "),
      effect,
      by,
      String(packets),
    ]);
    lines.push("", renderTable(["PACKETS", "MATCHING", "OF", "ARE", "BY", "COUNT"], rows));
    if (classes.some(({ experiments }) => experiments.length > 1))
      lines.push(
        "",
        "A class that names several experiments has the packets that all of them match; a packet belongs to the most particular class that it matches.",
      );
  }
  if (operations.length > 0) {
    const rows = operations.map(({ volume, files, methods, experiment, effect }) => [volume, files, methods, experiment, effect]);
    lines.push("", renderTable(["VOLUME", "FILES", "OPERATIONS", "OF", "ARE"], rows));
  }
  return lines.join("\n");
}

function renderVolume({ name, state, reason, message }: ExplainedVolume): string {
  switch (state) {
    case "serving":
      return name;
    case "waiting":
      return `${name} (waits for the daemon of its node)`;
    default:
      return `${name} (${[state, reason, message].filter((text) => text !== "").join(": ")})`;
  }
}

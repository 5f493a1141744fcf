import { embeddedSpec } from "./embedded.ts";
import { type ExperimentName, experimentNames } from "./experiments.ts";

/** The members that hold experiments in Schedules, in templates of Workflows and in WorkflowNodes. */

/** `networkChaos`, `awsChaos`, `physicalmachineChaos`. */
export const embeddedKeyOf = (kind: ExperimentName): string => `${kind.slice(0, -"Chaos".length).toLowerCase()}Chaos`;

export const embeddedKeys: readonly { readonly kind: ExperimentName; readonly key: string }[] = experimentNames.map((kind) => ({
  kind,
  key: embeddedKeyOf(kind),
}));

/** One optional member for each kind, to be spread into a spec. */
export const embeddedExperiments = Object.fromEntries(
  embeddedKeys.map(({ kind, key }) => [key, embeddedSpec(kind).optional().describe(`Spec of a ${kind}, for that type.`)]),
);

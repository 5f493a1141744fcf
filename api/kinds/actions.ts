import { type ExperimentName, experimentNames, experiments } from "./experiments.ts";

/** The actions of each kind of experiment; none where a kind does one thing only. */
export const experimentActions: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  experimentNames.map((kind) => [kind, actionsOf(kind)]),
);

function actionsOf(kind: ExperimentName): readonly string[] {
  const { action } = experiments[kind].schema.shape as { readonly action?: { readonly options?: readonly string[] } };
  return action?.options ?? [];
}

import { type ExperimentName, isExperimentName } from "../api/kinds/experiments.ts";
import type { ObjectRef } from "../kube/kube.ts";

/** Names an experiment in queue, logs and messages: Kind/NAMESPACE/NAME. */
export interface ExperimentKey {
  readonly kind: ExperimentName;
  readonly ref: ObjectRef & { readonly namespace: string };
  readonly text: string;
}

export function experimentKey(kind: ExperimentName, { namespace = "", name }: ObjectRef): ExperimentKey {
  return { kind, ref: { namespace, name }, text: `${kind}/${namespace}/${name}` };
}

/** Throws on a text that `experimentKey` did not make. */
export function parseExperimentKey(text: string): ExperimentKey {
  const [kind = "", namespace = "", name = ""] = text.split("/");
  if (!isExperimentName(kind) || name === "") throw new Error(`${JSON.stringify(text)} is no key of an experiment.`);
  return experimentKey(kind, { namespace, name });
}

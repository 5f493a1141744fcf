import { isKindName, type KindName } from "../api/kinds/registry.ts";
import type { ObjectRef } from "../kube/kube.ts";

/** Names an experiment in queue, logs and messages: Kind/NAMESPACE/NAME. */
export interface ExperimentKey {
  readonly kind: KindName;
  readonly ref: ObjectRef & { readonly namespace: string };
  readonly text: string;
}

export function experimentKey(kind: KindName, { namespace = "", name }: ObjectRef): ExperimentKey {
  return { kind, ref: { namespace, name }, text: `${kind}/${namespace}/${name}` };
}

/** Throws on a text that `experimentKey` did not make. */
export function parseExperimentKey(text: string): ExperimentKey {
  const [kind = "", namespace = "", name = ""] = text.split("/");
  if (!isKindName(kind) || name === "") throw new Error(`${JSON.stringify(text)} is no key of an experiment.`);
  return experimentKey(kind, { namespace, name });
}

import { CA_CONFIGMAP, SYSTEM_NAMESPACE } from "../../common/names.ts";
import { isKubeError } from "../../kube/errors.ts";
import type { Kube } from "../../kube/kube.ts";
import { type ConfigMap, configMaps, type Namespace } from "../../kube/resources.ts";
import { isOptedIn } from "../namespaces/opted-in.ts";

/** Marks ConfigMaps that the controller made and may remove. */
const MANAGED_BY = { label: "app.kubernetes.io/managed-by", value: "squall-controller" } as const;

/** What has to change so that exactly the opted-in namespaces and the system's own have the CAs. */
export interface ConfigMapPlan {
  /** Namespaces in which it is missing or old. */
  readonly write: readonly string[];
  /** Namespaces that opted out. */
  readonly remove: readonly string[];
}

/** `existing`: the ConfigMaps of our name, in whatever namespace. One that somebody else made where nobody opted in is theirs. */
export function planConfigMaps(namespaces: readonly Namespace[], existing: readonly ConfigMap[], trusted: string): ConfigMapPlan {
  // Daemons are in the system's own namespace.
  const optedIn = namespaces.filter((one) => isOptedIn(one) || one.metadata.name === SYSTEM_NAMESPACE).map(({ metadata }) => metadata.name);
  const isTerminating = new Set(
    namespaces.filter(({ metadata }) => metadata.deletionTimestamp !== undefined).map(({ metadata }) => metadata.name),
  );
  const found = new Map(existing.map((configMap) => [configMap.metadata.namespace ?? "", configMap]));
  const isRight = (configMap: ConfigMap | undefined): boolean =>
    configMap !== undefined && configMap.data["ca.crt"] === trusted && configMap.metadata.labels?.[MANAGED_BY.label] === MANAGED_BY.value;
  return {
    write: optedIn.filter((namespace) => !isRight(found.get(namespace))),
    remove: existing
      .filter(({ metadata }) => metadata.labels?.[MANAGED_BY.label] === MANAGED_BY.value)
      .map(({ metadata }) => metadata.namespace ?? "")
      .filter((namespace) => !optedIn.includes(namespace) && !isTerminating.has(namespace)),
  };
}

/** Carries the plan out. A namespace that cannot be written does not keep the others waiting; all errors are thrown together at the end. */
export async function writeConfigMaps(kube: Kube, plan: ConfigMapPlan, trusted: string, signal: AbortSignal): Promise<void> {
  const errors: unknown[] = [];
  for (const namespace of plan.write) {
    const ref = { namespace, name: CA_CONFIGMAP };
    const body = { metadata: { ...ref, labels: { [MANAGED_BY.label]: MANAGED_BY.value } }, data: { "ca.crt": trusted } };
    try {
      await kube.patch(configMaps, ref, body, { type: "apply", fieldManager: MANAGED_BY.value, force: true }, signal);
    } catch (error) {
      // Gone or going since it was read.
      if (!isKubeError(error, "not-found")) errors.push(error);
    }
  }
  for (const namespace of plan.remove)
    try {
      await kube.delete(configMaps, { namespace, name: CA_CONFIGMAP }, {}, signal);
    } catch (error) {
      if (!isKubeError(error, "not-found")) errors.push(error);
    }
  if (errors.length > 0) throw new AggregateError(errors, `The CA could not be written to ${errors.length} namespaces.`);
}

/** Which ConfigMaps to watch: RBAC can narrow a watch to one name when the request does. */
export const caConfigMapScope = { fieldSelector: `metadata.name=${CA_CONFIGMAP}` } as const;

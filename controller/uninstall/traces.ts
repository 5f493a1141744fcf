import { experimentNames } from "../../api/kinds/experiments.ts";
import { annotations, CA_SECRET, FINALIZER, services, SYSTEM_NAMESPACE, WEBHOOK_SECRET } from "../../common/names.ts";
import { isKubeError } from "../../kube/errors.ts";
import { experimentResource } from "../../kube/experiments.ts";
import type { Kube, ObjectRef, Resource } from "../../kube/kube.ts";
import { configMaps, endpointSlices, namespaces, secrets } from "../../kube/resources.ts";
import { caConfigMapScope, planConfigMaps, writeConfigMaps } from "../certificates/ca-config-maps.ts";

/** How many experiments still wait for a controller to let them go, by the API server and not by a copy: kinds go with their experiments. */
export async function countExperimentsLeft(kube: Kube, signal: AbortSignal): Promise<number> {
  let left = 0;
  for (const kind of experimentNames)
    try {
      const { items } = await kube.list(experimentResource(kind), {}, signal);
      left += items.filter(({ metadata }) => metadata.finalizers?.includes(FINALIZER)).length;
    } catch (error) {
      // No such kind any more, so no such experiment.
      if (!isKubeError(error, "not-found")) throw error;
    }
  return left;
}

/** Removes what the controller made, wherever it is, but for what it needs to go on: its Lease. Nobody may be making it anew at the same time. */
export async function removeTraces(kube: Kube, signal: AbortSignal): Promise<void> {
  const made = await kube.list(configMaps, caConfigMapScope, signal);
  await writeConfigMaps(kube, planConfigMaps([], made.items, ""), "", signal);
  const { items } = await kube.list(namespaces, {}, signal);
  for (const { metadata } of items) {
    if (metadata.annotations?.[annotations.injectionVerdict] === undefined) continue;
    const body = { metadata: { annotations: { [annotations.injectionVerdict]: null } } };
    await kube.patch(namespaces, { name: metadata.name }, body, { type: "merge" }, signal);
  }
  const remove = (resource: Resource<unknown>, name: string): Promise<void> =>
    removeIfThere(kube, resource, { namespace: SYSTEM_NAMESPACE, name }, signal);
  for (const name of [services.enrolment, `${services.enrolment}-ipv6`]) await remove(endpointSlices, name);
  for (const name of [WEBHOOK_SECRET, CA_SECRET]) await remove(secrets, name);
}

async function removeIfThere(kube: Kube, resource: Resource<unknown>, ref: ObjectRef, signal: AbortSignal): Promise<void> {
  try {
    await kube.delete(resource, ref, {}, signal);
  } catch (error) {
    if (!isKubeError(error, "not-found")) throw error;
  }
}

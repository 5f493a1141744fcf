import { SYSTEM_NAMESPACE, services } from "../common/names.ts";
import { isKubeError } from "../kube/errors.ts";
import type { Kube } from "../kube/kube.ts";
import { endpointSlices, SERVICE_NAME_LABEL } from "../kube/resources.ts";

/** Whether any webhook is ready to answer; "unknown" to people who may not list EndpointSlices in Squall's own namespace. */
export type WebhookState = "ready" | "away" | "unknown";

export async function readWebhookState(kube: Pick<Kube, "list">): Promise<WebhookState> {
  try {
    const labelSelector = `${SERVICE_NAME_LABEL}=${services.webhook}`;
    const { items } = await kube.list(endpointSlices, { namespace: SYSTEM_NAMESPACE, labelSelector });
    const isReady = items.some(({ endpoints }) => endpoints.some(({ conditions }) => conditions?.ready !== false));
    return isReady ? "ready" : "away";
  } catch (error) {
    if (isKubeError(error, "forbidden")) return "unknown";
    throw error;
  }
}

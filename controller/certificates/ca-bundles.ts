import { WEBHOOK_CONFIGURATION } from "../../common/names.ts";
import { isKubeError } from "../../kube/errors.ts";
import type { Kube, Resource } from "../../kube/kube.ts";
import { mutatingWebhookConfigurations, validatingWebhookConfigurations, type WebhookConfiguration } from "../../kube/resources.ts";

/**
 * Writes the CAs into `caBundle` of every webhook of ours, where they are not there yet. Gives the names of what it changed.
 * Only that field is touched, so whoever applies the manifests again does not fight with it.
 */
export async function keepCaBundles(kube: Kube, trusted: string, signal: AbortSignal): Promise<readonly string[]> {
  const caBundle = Buffer.from(trusted).toString("base64");
  const changed: string[] = [];
  for (const resource of [mutatingWebhookConfigurations, validatingWebhookConfigurations])
    if (await keepOne(kube, resource, caBundle, signal)) changed.push(`${resource.kind}/${WEBHOOK_CONFIGURATION}`);
  return changed;
}

async function keepOne(kube: Kube, resource: Resource<WebhookConfiguration>, caBundle: string, signal: AbortSignal): Promise<boolean> {
  const ref = { name: WEBHOOK_CONFIGURATION };
  let found: WebhookConfiguration;
  try {
    found = await kube.get(resource, ref, signal);
  } catch (error) {
    // The manifests may be applied in any order; it is looked for again soon.
    if (isKubeError(error, "not-found")) return false;
    throw error;
  }
  const patch = found.webhooks.flatMap(({ name, clientConfig }, index) =>
    clientConfig.caBundle === caBundle
      ? []
      : [
          // Somebody may have changed the list since it was read: the wrong entry must not be patched.
          { op: "test", path: `/webhooks/${index}/name`, value: name },
          { op: "add", path: `/webhooks/${index}/clientConfig/caBundle`, value: caBundle },
        ],
  );
  if (patch.length === 0) return false;
  await kube.patch(resource, ref, patch, { type: "json" }, signal);
  return true;
}

import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { stringify } from "yaml";
import * as z from "zod";
import { SYSTEM_NAMESPACE, WEBHOOK_CONFIGURATION } from "../../../common/names.ts";
import type { Kube } from "../../../kube/kube.ts";
import { resourceOf } from "../../../kube/resources.ts";
import { cachedPath, ensureBinaries } from "../../../lab/binaries.ts";
import { placesOf } from "../../../lab/places.ts";
import { silentProgress } from "../../../lab/progress.ts";
import { createKubectl, type Kubectl } from "../../cluster/support/kubectl.ts";
import type { TestApiServer } from "../../support/api-server.ts";

/** A kubectl with all rights. */
export async function adminKubectl({ kubeconfig }: TestApiServer): Promise<Kubectl> {
  const { cache } = placesOf(process.env);
  await ensureBinaries(["kubectl"], { cache, kubebuilderAssets: process.env["KUBEBUILDER_ASSETS"] }, silentProgress);
  return createKubectl({ program: cachedPath(cache, "kubectl"), kubeconfig });
}

/** All of Squall's manifests, as a person applies them. Nothing of it runs: there is no node. */
export async function installManifests(kubectl: Kubectl): Promise<void> {
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: SYSTEM_NAMESPACE } };
  await kubectl(["apply", "-f", "-"], { stdin: JSON.stringify(namespace) });
  await kubectl(["apply", "-k", "manifests"], { timeoutMs: 60_000 });
}

/** A kubeconfig with the rights of a service account, by a token as its pods have them. */
export async function accountKubeconfig(
  { kubeconfig, url, ca }: TestApiServer,
  { namespace, name }: { readonly namespace: string; readonly name: string },
  kubectl: Kubectl,
): Promise<string> {
  const token = (await kubectl(["create", "token", name, "-n", namespace])).trim();
  const file = join(dirname(kubeconfig), `${name}.kubeconfig`);
  const cluster = { server: url, "certificate-authority-data": Buffer.from(ca.certificate).toString("base64") };
  const content = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "test", cluster }],
    users: [{ name: "account", user: { token } }],
    contexts: [{ name: "test", context: { cluster: "test", user: "account" } }],
    "current-context": "test",
  };
  await writeFile(file, stringify(content, { lineWidth: 0 }), { mode: 0o600 });
  return file;
}

export const controllerKubeconfig = (api: TestApiServer, kubectl: Kubectl): Promise<string> =>
  accountKubeconfig(api, { namespace: SYSTEM_NAMESPACE, name: "squall-controller" }, kubectl);

const webhookList = z.looseObject({
  webhooks: z.array(z.looseObject({ clientConfig: z.object({ service: z.object({ path: z.string() }) }) })),
});

/** Has the API server call webhooks at an address of this machine instead of the Service. `caBundle`: PEM. */
export async function pointWebhooks(kube: Kube, url: string, caBundle: string): Promise<void> {
  for (const kind of ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]) {
    const names = { group: "admissionregistration.k8s.io", version: "v1", kind, plural: `${kind.toLowerCase()}s`, isNamespaced: false };
    const { webhooks } = await kube.get(resourceOf(names, webhookList), { name: WEBHOOK_CONFIGURATION });
    const patch = webhooks.map(({ clientConfig }, index) => ({
      op: "replace",
      path: `/webhooks/${index}/clientConfig`,
      value: { url: `${url}${clientConfig.service.path}`, caBundle: Buffer.from(caBundle).toString("base64") },
    }));
    await kube.patch(resourceOf(names, z.unknown()), { name: WEBHOOK_CONFIGURATION }, patch, { type: "json" });
  }
}

/** A port of 127.0.0.1 that nobody listened on a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  return await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { createAuthority, openAuthority } from "../../../certs/authority.ts";
import { systemClock } from "../../../common/clock.ts";
import { silentLog } from "../../../common/log.ts";
import { CONTROLLER_ACCOUNT } from "../../../common/names.ts";
import { createAccessReviews } from "../../../kube/access.ts";
import { isKubeError } from "../../../kube/errors.ts";
import { experimentResource } from "../../../kube/experiments.ts";
import type { Kube, NewObject } from "../../../kube/kube.ts";
import { Limits } from "../../../kube/limits.ts";
import { Reflector } from "../../../kube/reflector.ts";
import { namespaces } from "../../../kube/resources.ts";
import { waitUntil } from "../../../lab/wait-until.ts";
import { createMetrics } from "../../../webhook/metrics.ts";
import { createReviewers } from "../../../webhook/reviewers.ts";
import { serveReviews } from "../../../webhook/server.ts";
import { injectionFacts } from "../../support/admission.ts";
import { installCrds } from "../../support/crds.ts";
import { anyResource } from "./served-kinds.ts";

const root = join(import.meta.dirname, "../../..");
const admission = (kind: string, plural: string) => anyResource("admissionregistration.k8s.io", "v1", kind, plural, false);
const configurations = [
  admission("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
  admission("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
] as const;

/** The documents of a manifest of this repository. */
export const documents = (file: string): readonly (NewObject & { readonly kind: string })[] =>
  parseAllDocuments(readFileSync(join(root, file), "utf8")).map((document) => document.toJS() as NewObject & { readonly kind: string });

export interface TestWebhook {
  /** May be changed at any time. */
  readonly policy: { admitUnsupported: boolean; readonly controllerAccount: string };
  /** `/mutate shop/cut` for each review. */
  readonly seen: readonly string[];
  /** Takes the configurations away, so that the API server asks nobody. */
  remove(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Has a real API server serve every kind of ours and ask a real webhook about them, by the configurations of manifests/webhook.yaml.
 * `asker` is who asks what authors may do; `kube` by default.
 */
export async function startTestWebhook(kube: Kube, { asker = kube }: { readonly asker?: Kube } = {}): Promise<TestWebhook> {
  const validity = { now: new Date(), lifetimeMs: 3_600_000 };
  const credential = await createAuthority(validity);
  const { certificate, key } = await openAuthority(credential).issueServer(["localhost"], validity);
  const policy = { admitUnsupported: false, controllerAccount: CONTROLLER_ACCOUNT };
  const seen: string[] = [];
  const spaces = new Reflector({
    kube,
    resource: namespaces,
    clock: systemClock,
    log: silentLog,
  });
  const limits = new Limits({ kube, clock: systemClock, log: silentLog });
  const reviewers = createReviewers({
    policy,
    kube,
    access: createAccessReviews({ kube: asker, clock: systemClock }),
    limits,
    labelsOf: (name) => spaces.get(name)?.metadata.labels,
    clock: systemClock,
    injector: { factsFor: () => injectionFacts, onSkip: () => undefined },
  });
  const server = await serveReviews({
    reviewers: reviewers.map((reviewer) => ({
      ...reviewer,
      review: (request) => {
        seen.push(`${reviewer.path} ${request.namespace ?? ""}/${request.name ?? ""}`);
        return reviewer.review(request);
      },
    })),
    certificate: { cert: certificate, key },
    port: 0,
    metrics: createMetrics(),
    log: silentLog,
  });
  await installCrds(kube);
  const reflectors = [spaces, ...limits.reflectors];
  for (const reflector of reflectors) reflector.start();
  await Promise.all(reflectors.map((reflector) => reflector.synced()));
  const caBundle = Buffer.from(credential.certificate).toString("base64");
  for (const document of documents("manifests/webhook.yaml")) {
    const resource = configurations.find(({ kind }) => kind === document.kind);
    if (resource === undefined) continue;
    const webhooks = document["webhooks"] as readonly { readonly clientConfig: { readonly service: { readonly path: string } } }[];
    const url = (path: string): string => `https://localhost:${server.port}${path}`;
    const moved = webhooks.map((webhook) => ({ ...webhook, clientConfig: { url: url(webhook.clientConfig.service.path), caBundle } }));
    await kube.create(resource, { ...document, webhooks: moved });
  }
  await kube.create(namespaces, { metadata: { name: "webhook-probe" } });
  await untilAsked(kube);
  return {
    policy,
    seen,
    async remove() {
      for (const resource of configurations) await kube.delete(resource, { name: "squall-webhook" });
    },
    async close() {
      await server.close();
      await Promise.all(reflectors.map((reflector) => reflector.close()));
    },
  };
}

/** New kinds and webhooks take the API server a moment. */
async function untilAsked(kube: Kube): Promise<void> {
  const probe = { metadata: { namespace: "webhook-probe", name: "probe" }, spec: {} };
  const isAsked = (): Promise<boolean | string> =>
    kube.create(experimentResource("NetworkChaos"), probe, { dryRun: true }).then(
      () => "an experiment without a spec is admitted",
      (error: unknown) => isKubeError(error, "forbidden") || String(error),
    );
  await waitUntil("the webhook is asked", isAsked, { timeoutMs: 20_000 });
}

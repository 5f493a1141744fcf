import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { VERSION } from "../common/version.ts";
import { createAccessReviews } from "../kube/access.ts";
import type { KubeConnection } from "../kube/client.ts";
import { watchClusterFacts } from "./cluster-facts.ts";
import type { WebhookConfig } from "./config.ts";
import { createMetrics } from "./metrics.ts";
import { createReviewers } from "./reviewers.ts";
import { serveHealth } from "../common/health-server.ts";
import { serveReviews, type WebhookServer } from "./server.ts";
import { watchCertificate } from "./serving-certificate.ts";
import { createSkipEvents } from "./skip-events.ts";

export interface Webhook {
  /** Stops being ready, goes on answering for the lame duck's time, then ends. */
  close(): Promise<void>;
}

/** Starts the webhook; it serves as soon as there is a certificate, and is ready then. */
export async function runWebhook(
  config: WebhookConfig,
  { kube, clock, log }: { readonly kube: KubeConnection; readonly clock: Clock; readonly log: Log },
): Promise<Webhook> {
  const metrics = createMetrics();
  let server: WebhookServer | undefined;
  let isEnding = false;
  const health = await serveHealth({
    port: config.metricsPort,
    registry: metrics.registry,
    whyNotReady: () => (isEnding ? "the process ends" : server === undefined ? "there is no certificate yet" : undefined),
    whyNotAlive: () => undefined,
  });
  const facts = await watchClusterFacts({ kube, image: config.sidecarImage, clock, log });
  const policy = { admitUnsupported: config.admitUnsupported, controllerAccount: config.controllerAccount };
  const injector = {
    factsFor: (namespace: string) => ({
      image: config.sidecarImage,
      version: VERSION,
      enrolmentAddress: config.enrolmentAddress,
      logLevel: config.sidecarLogLevel,
      ...facts.of(namespace),
    }),
    onSkip: createSkipEvents({ kube, clock, log }),
  };
  const reviewers = createReviewers({
    policy,
    kube,
    access: createAccessReviews({ kube, clock }),
    limits: facts.limits,
    labelsOf: (namespace) => facts.labelsOf(namespace),
    injector,
    clock,
  });
  const stopWatching = watchCertificate(config.tlsFolder, {
    clock,
    log,
    async onChange(certificate) {
      if (server) server.replaceCertificate(certificate);
      else server = await serveReviews({ reviewers, certificate, port: config.port, metrics, log });
      log.info({ port: config.port }, "serving with a new certificate");
    },
  });
  return {
    async close() {
      isEnding = true;
      stopWatching();
      await new Promise<void>((resolve) => setTimeout(resolve, config.lameDuck));
      await server?.close();
      await health.close();
      await facts.close();
    },
  };
}

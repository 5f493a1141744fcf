import { systemClock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { CONTROLLER_ACCOUNT } from "../../common/names.ts";
import { createMetrics } from "../../webhook/metrics.ts";
import { createReviewers } from "../../webhook/reviewers.ts";
import { serveReviews, type WebhookServer } from "../../webhook/server.ts";
import { injectionFacts } from "./admission.ts";
import { FakeKube } from "./fake-kube.ts";

/** All of the webhook on a free port of loopback, without a cluster: authors may do everything, and nothing limits them. */
export function serveOpenWebhook(certificate: { readonly cert: string; readonly key: string }, log: Log): Promise<WebhookServer> {
  return serveReviews({
    reviewers: createReviewers({
      policy: { admitUnsupported: true, controllerAccount: CONTROLLER_ACCOUNT },
      // asked by dry runs alone
      kube: new FakeKube(),
      access: { findMissing: () => Promise.resolve([]) },
      limits: { policies: [], haltOn: () => undefined },
      labelsOf: () => ({}),
      injector: { factsFor: () => injectionFacts, onSkip: () => undefined },
      clock: systemClock,
    }),
    certificate,
    port: 0,
    metrics: createMetrics(),
    log,
  });
}

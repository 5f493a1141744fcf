import { Counter, Histogram, Registry } from "prom-client";

export interface WebhookMetrics {
  readonly registry: Registry;
  /** One review was answered. */
  count(review: { readonly path: string; readonly code: string; readonly isAllowed: boolean; readonly seconds: number }): void;
}

export function createMetrics(): WebhookMetrics {
  const registry = new Registry();
  const reviews = new Counter({
    name: "squall_webhook_reviews_total",
    help: "Admission reviews answered, by path, answer and reason code.",
    labelNames: ["path", "allowed", "code"] as const,
    registers: [registry],
  });
  const durations = new Histogram({
    name: "squall_webhook_review_seconds",
    help: "Time from a review that was read to its answer.",
    labelNames: ["path"] as const,
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1],
    registers: [registry],
  });
  return {
    registry,
    count({ path, code, isAllowed, seconds }) {
      reviews.inc({ path, allowed: String(isAllowed), code });
      durations.observe({ path }, seconds);
    },
  };
}

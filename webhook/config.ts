import type { z } from "zod";
import { readConfig, value } from "../common/config.ts";
import { CONTROLLER_ACCOUNT, ports, services, SYSTEM_NAMESPACE } from "../common/names.ts";

const shape = {
  /** Image of the sidecars. */
  sidecarImage: value.text(),
  /** Log level of the sidecars. */
  sidecarLogLevel: value.logLevel().default("info"),
  /** HOST:PORT at which sidecars enrol. */
  enrolmentAddress: value.text().default(`${services.enrolment}.${SYSTEM_NAMESPACE}.svc:${ports.enrolment}`),
  /** Folder with tls.crt and tls.key; may be empty at first. */
  tlsFolder: value.text().default("/var/run/squall/tls"),
  port: value.port().default(ports.webhook),
  /** Health and metrics. */
  metricsPort: value.port().default(ports.metrics),
  /** Admit experiments that cannot be carried out yet. For tests of the API alone. */
  admitUnsupported: value.flag().default(false),
  /** User name of the controller: what it makes keeps the author of what it is made from. */
  controllerAccount: value.text().default(CONTROLLER_ACCOUNT),
  /** How long the webhook goes on answering after it was told to end: the API server may not know yet. */
  lameDuck: value.durationMs().default(10_000),
  logLevel: value.logLevel().default("info"),
};

export type WebhookConfig = z.output<z.ZodObject<typeof shape>>;

/** Reads SQUALL_… variables; `--admit-unsupported` is the same as SQUALL_ADMIT_UNSUPPORTED=true. Throws ConfigError. */
export function readWebhookConfig(environment: NodeJS.ProcessEnv, parameters: readonly string[]): WebhookConfig {
  const config = readConfig(shape, environment);
  return parameters.includes("--admit-unsupported") ? { ...config, admitUnsupported: true } : config;
}

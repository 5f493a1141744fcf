import type * as z from "zod/mini";
import { readConfig, value } from "../common/config.ts";
import { CONTROLLER_ACCOUNT, ports, services, SYSTEM_NAMESPACE } from "../common/names.ts";

const shape = {
  /** Image of the sidecars. */
  sidecarImage: value.text(),
  /** Log level of the sidecars. */
  sidecarLogLevel: value.or(value.logLevel(), "info"),
  /** HOST:PORT at which sidecars enrol. */
  enrolmentAddress: value.or(value.text(), `${services.enrolment}.${SYSTEM_NAMESPACE}.svc:${ports.enrolment}`),
  /** Folder with tls.crt and tls.key; may be empty at first. */
  tlsFolder: value.or(value.text(), "/var/run/squall/tls"),
  port: value.or(value.port(), ports.webhook),
  /** Health and metrics. */
  metricsPort: value.or(value.port(), ports.metrics),
  /** Admit experiments that cannot be carried out yet. For tests of the API alone. */
  admitUnsupported: value.or(value.flag(), false),
  /** User name of the controller: what it makes keeps the author of what it is made from. */
  controllerAccount: value.or(value.text(), CONTROLLER_ACCOUNT),
  /** How long the webhook goes on answering after it was told to end: the API server may not know yet. */
  lameDuck: value.or(value.durationMs(), 10_000),
  logLevel: value.or(value.logLevel(), "info"),
};

export type WebhookConfig = z.output<z.ZodMiniObject<typeof shape>>;

/** Reads SQUALL_… variables; `--admit-unsupported` is the same as SQUALL_ADMIT_UNSUPPORTED=true. Throws ConfigError. */
export function readWebhookConfig(environment: NodeJS.ProcessEnv, parameters: readonly string[]): WebhookConfig {
  const config = readConfig(shape, environment);
  return parameters.includes("--admit-unsupported") ? { ...config, admitUnsupported: true } : config;
}

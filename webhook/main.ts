import { systemClock } from "../common/clock.ts";
import { ConfigError } from "../common/config.ts";
import { createLog } from "../common/log.ts";
import { VERSION } from "../common/version.ts";
import { connectKube } from "../kube/client.ts";
import { readWebhookConfig, type WebhookConfig } from "./config.ts";
import { runWebhook } from "./run.ts";

/** The webhook's process. */
let config: WebhookConfig;
try {
  config = readWebhookConfig(process.env, process.argv.slice(2));
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(2);
}
const log = createLog({ process: "webhook", level: config.logLevel });
log.info({ ...config, version: VERSION }, "webhook starts");
const kube = connectKube({ process: "webhook", version: VERSION });
const starting = runWebhook(config, { kube, clock: systemClock, log });
process.once("SIGTERM", () => {
  log.info({}, "webhook ends");
  starting
    .then((webhook) => webhook.close())
    .then(() => kube.close())
    .catch((error: unknown) => log.warn({ err: error }, "the end was not clean"))
    .finally(() => process.exit(0));
});
await starting.catch((error: unknown) => {
  log.error({ err: error }, "the webhook cannot run");
  process.exit(1);
});

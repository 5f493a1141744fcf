import { systemClock } from "../common/clock.ts";
import { ConfigError } from "../common/config.ts";
import { createLog } from "../common/log.ts";
import { VERSION } from "../common/version.ts";
import { connectKube } from "../kube/client.ts";
import { type ControllerConfig, readControllerConfig } from "./config.ts";
import { runController } from "./run.ts";

/** The controller's process. */
let config: ControllerConfig;
try {
  config = readControllerConfig(process.env);
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(2);
}
const log = createLog({ process: "controller", level: config.logLevel });
log.info({ ...config, version: VERSION }, "controller starts");
const kube = connectKube({ process: "controller", version: VERSION });
const starting = runController(config, { kube, clock: systemClock, log });
// The clock's timers keep no process alive, and neither does a standby's wait.
const keepAlive = setInterval(() => undefined, 60_000);
process.once("SIGTERM", () => {
  log.info({}, "controller ends");
  starting
    .then((controller) => controller.close())
    .then(() => kube.close())
    .catch((error: unknown) => log.warn({ err: error }, "the end was not clean"))
    .finally(() => {
      clearInterval(keepAlive);
      process.exit(0);
    });
});
await starting.catch((error: unknown) => {
  log.error({ err: error }, "the controller cannot run");
  process.exit(1);
});

import { systemClock } from "../common/clock.ts";
import { ConfigError } from "../common/config.ts";
import { createLog } from "../common/log.ts";
import { VERSION } from "../common/version.ts";
import { type DaemonConfig, readDaemonConfig } from "./config.ts";
import { runDaemon } from "./run.ts";

/** The daemon's process, one on each node. */
let config: DaemonConfig;
try {
  config = readDaemonConfig(process.env);
} catch (error) {
  if (!(error instanceof ConfigError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(2);
}
const log = createLog({ process: "daemon", level: config.logLevel });
log.info({ ...config, version: VERSION }, "daemon starts");
// The clock's timers keep no process alive.
setInterval(() => undefined, 2 ** 30);
const ending = new AbortController();
const starting = runDaemon(config, { clock: systemClock, log, signal: ending.signal });
process.once("SIGTERM", () => {
  log.info({}, "daemon ends");
  ending.abort(new Error("The daemon ends."));
  starting
    .then((daemon) => daemon.close())
    .catch((error: unknown) => log.warn({ err: error }, "the end was not clean"))
    .finally(() => process.exit(0));
});
await starting.catch((error: unknown) => {
  if (ending.signal.aborted) return;
  log.error({ err: error }, "the daemon cannot run");
  process.exit(1);
});

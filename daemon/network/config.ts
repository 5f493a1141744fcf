import type * as z from "zod/mini";
import { readConfig, value } from "../../common/config.ts";

const shape = {
  logLevel: value.or(value.logLevel(), "info"),
  /** The pod whose network it is in, for the log. */
  podUid: value.text(),
};

/** Reads SQUALL_LOG_LEVEL and so on, as the daemon sets them for its process in a pod's network. Throws ConfigError. */
export const readPodNetworkConfig = (environment: NodeJS.ProcessEnv): z.output<z.ZodMiniObject<typeof shape>> =>
  readConfig(shape, environment);

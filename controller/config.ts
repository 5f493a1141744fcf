import type { z } from "zod";
import { readConfig, value } from "../common/config.ts";
import { ports } from "../common/names.ts";

const shape = {
  /** Name, UID and addresses of this pod: the leader writes them into the endpoints of the enrolment Service. */
  podName: value.text(),
  podUid: value.text(),
  podIps: value.list(),
  /** Where agents enrol. */
  enrolmentPort: value.port().default(ports.enrolment),
  /** Health and metrics. */
  metricsPort: value.port().default(ports.metrics),
  /** Experiments visited at a time. */
  workers: value.count().default(8),
  logLevel: value.logLevel().default("info"),
};

export type ControllerConfig = z.output<z.ZodObject<typeof shape>>;

/** Reads SQUALL_… variables. Throws ConfigError. */
export const readControllerConfig = (environment: NodeJS.ProcessEnv): ControllerConfig => readConfig(shape, environment);

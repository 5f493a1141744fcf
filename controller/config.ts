import type * as z from "zod/mini";
import { readConfig, value } from "../common/config.ts";
import { ports } from "../common/names.ts";

const shape = {
  /** Name, UID and addresses of this pod: the leader writes them into the endpoints of the enrolment Service. */
  podName: value.text(),
  podUid: value.text(),
  podIps: value.list(),
  /** What pod-failure puts in the place of images. manifests/guarded.yaml names it, too. */
  pauseImage: value.text(),
  /** Where agents enrol. */
  enrolmentPort: value.or(value.port(), ports.enrolment),
  /** Health and metrics. */
  metricsPort: value.or(value.port(), ports.metrics),
  /** Experiments visited at a time. */
  workers: value.or(value.count(), 8),
  logLevel: value.or(value.logLevel(), "info"),
};

export type ControllerConfig = z.output<z.ZodMiniObject<typeof shape>>;

/** Reads SQUALL_… variables. Throws ConfigError. */
export const readControllerConfig = (environment: NodeJS.ProcessEnv): ControllerConfig => readConfig(shape, environment);

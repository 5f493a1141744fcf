import type * as z from "zod/mini";
import { readConfig, value } from "../common/config.ts";

const shape = {
  /** UID of this pod: what its certificate is bound to. */
  podUid: value.text(),
  podName: value.text(),
  podNamespace: value.text(),
  /** Addresses of this pod, where the controller dials. */
  podIps: value.list(),
  /** Addresses of the node, from which probes come. */
  hostIps: value.or(value.list(), []),
  /** TCP ports that the kubelet probes. */
  probePorts: value.or(value.ports(), []),
  /** HOST:PORT of the enrolment Service. */
  enrolmentAddress: value.text(),
  logLevel: value.or(value.logLevel(), "info"),
};

export type SidecarConfig = z.output<z.ZodMiniObject<typeof shape>>;

/** Reads the variables that the injector wrote, see common/sidecar-layout.ts. Throws ConfigError. */
export const readSidecarConfig = (environment: NodeJS.ProcessEnv): SidecarConfig => readConfig(shape, environment);

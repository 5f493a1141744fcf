import type * as z from "zod/mini";
import { readConfig, value } from "../common/config.ts";
import { ports } from "../common/names.ts";

const shape = {
  /** Name of this node: what its certificate is bound to. */
  nodeName: value.text(),
  /** Addresses of this pod, where the controller dials. */
  podIps: value.list(),
  /** Addresses of the node, from which the kubelet's probes come. */
  hostIps: value.or(value.list(), []),
  /** HOST:PORT of the enrolment Service. */
  enrolmentAddress: value.text(),
  /** Where the node's /run is mounted: the container runtime's socket is somewhere below. */
  hostRun: value.or(value.text(), "/host/run"),
  /** Where the node's cgroup file systems are mounted. */
  hostCgroups: value.or(value.text(), "/host/sys/fs/cgroup"),
  /** The kubelet's folder, as the node sees it: pods' volumes that are served through FUSE are mounted below. */
  kubeletFolder: value.or(value.text(), "/var/lib/kubelet"),
  /** A folder of the node: what must be undone after a crash outlives the pod of the daemon. */
  stateFolder: value.or(value.text(), "/var/lib/squall"),
  metricsPort: value.or(value.port(), ports.metrics),
  logLevel: value.or(value.logLevel(), "info"),
};

export type DaemonConfig = z.output<z.ZodMiniObject<typeof shape>>;

/** Reads SQUALL_NODE_NAME and so on, as manifests/daemon.yaml sets them. Throws ConfigError. */
export const readDaemonConfig = (environment: NodeJS.ProcessEnv): DaemonConfig => readConfig(shape, environment);

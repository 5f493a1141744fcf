import * as z from "zod/mini";
import { readConfig, value } from "../common/config.ts";
import { filesDrivers, type ServedVolume } from "../common/sidecar-layout.ts";

const servedVolumes = z.array(
  z.object({
    name: z.string().check(z.regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/)),
    source: z.enum(["emptyDir", "claim"]),
    isOneOfSeveral: z.optional(z.boolean()),
    hasReadOnlyMount: z.optional(z.boolean()),
  }),
);

/** Undefined where a name comes twice. */
function parseVolumes(found: unknown): readonly ServedVolume[] | undefined {
  const volumes = servedVolumes.parse(found);
  return new Set(volumes.map(({ name }) => name)).size === volumes.length ? volumes : undefined;
}

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
  /** Volumes of the pod that are served through FUSE. */
  volumes: value.or(value.json(parseVolumes, '[{"name":"data","source":"emptyDir"}]'), []),
  /** How they are. */
  filesDriver: value.or(value.choice(filesDrivers), "kernel"),
};

export type SidecarConfig = z.output<z.ZodMiniObject<typeof shape>>;

/** Reads the variables that the injector wrote, see common/sidecar-layout.ts. Throws ConfigError. */
export const readSidecarConfig = (environment: NodeJS.ProcessEnv): SidecarConfig => readConfig(shape, environment);

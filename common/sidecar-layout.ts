/** What the injector puts into a pod and the sidecar finds there. */

export const sidecarPaths = {
  /** The projected token for enrolment; rewritten by the kubelet before it expires. */
  token: "/var/run/squall/token/token",
  /** CA certificates, from the optional ConfigMap; may be absent for the first minute of a namespace. */
  ca: "/var/run/squall/ca/ca.crt",
  /** An emptyDir of the sidecar: the journal lives here and outlives a restart of the container. */
  state: "/var/lib/squall",
  /** Written once enrolment is through and volumes are served; the postStart hook waits for it. */
  ready: "/var/lib/squall/ready",
  /** What `sidecar.mjs explain` prints, but for the counters; written after each visit to the kernel. */
  explained: "/var/lib/squall/explained.json",
  /** Beside it: whether it is settled which volumes are served. */
  volumesSettled: "/var/lib/squall/volumes-settled",
  /** Names of persistent volumes, as the controller told them once: a sidecar that is started again needs no controller to serve. */
  persistentVolumes: "/var/lib/squall/persistent-volumes.json",
  /** A UNIX socket, there while the pod has volumes that are served through FUSE: the daemon of the node hands them over, see agent/hand-over.ts. */
  filesSocket: "/var/lib/squall/files.sock",
  /** Folders of volumes that the sidecar mounts itself, by their names: for the driver `libfuse`. */
  volumes: "/var/lib/squall-volumes",
  /** Covered by an empty emptyDir, so that no API-server token is inside the sidecar. */
  apiToken: "/var/run/secrets/kubernetes.io/serviceaccount",
} as const;

/** Volume of the pod that is mounted at `sidecarPaths.state`. */
export const STATE_VOLUME = "squall-state";

/** Where the image keeps the bundle of a process. */
export const bundlePath = (process: "webhook" | "controller" | "sidecar" | "daemon"): string => `/squall/${process}.mjs`;

/** Environment variables of the sidecar, in the order in which the injector writes them. */
export const sidecarVariables = {
  podUid: "SQUALL_POD_UID",
  podName: "SQUALL_POD_NAME",
  podNamespace: "SQUALL_POD_NAMESPACE",
  /** Comma-separated, from status.podIPs. */
  podIps: "SQUALL_POD_IPS",
  /** Comma-separated, from status.hostIPs: the kubelet's probes come from here or from the default gateway. */
  hostIps: "SQUALL_HOST_IPS",
  /** Comma-separated TCP ports of the pod's HTTP, TCP and gRPC probes. */
  probePorts: "SQUALL_PROBE_PORTS",
  /** HOST:PORT of the enrolment Service. */
  enrolmentAddress: "SQUALL_ENROLMENT_ADDRESS",
  logLevel: "SQUALL_LOG_LEVEL",
  /** JSON: a list of ServedVolume. Not set where there are none. */
  volumes: "SQUALL_VOLUMES",
  /** One of `filesDrivers`; the first of them where it is not set. */
  filesDriver: "SQUALL_FILES_DRIVER",
} as const;

/**
 * How volumes are served: `kernel` is handed over by the node's daemon and needs no privilege, `libfuse` mounts in the sidecar, which is privileged for
 * it, and needs no daemon.
 */
export const filesDrivers = ["kernel", "libfuse"] as const;
export type FilesDriver = (typeof filesDrivers)[number];

/** A volume that the sidecar serves through FUSE. */
export interface ServedVolume {
  /** In the pod's spec. */
  readonly name: string;
  /** Where the kubelet has its folder: with the pod's emptyDirs, or where a claim's storage is mounted. */
  readonly source: "emptyDir" | "claim";
  /**
   * For the driver `kernel`: the pod has more volumes that its node does not know by the pod's names for them, so that the name of the persistent volume is needed
   * to tell which folder is this one's.
   */
  readonly isOneOfSeveral?: boolean | undefined;
  /** For the driver `libfuse`: a container mounts it `readOnly`, and a mount that comes later would reach that one writable. */
  readonly hasReadOnlyMount?: boolean | undefined;
}

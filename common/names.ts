/** Names, ports and numbers on which processes must agree. Nothing here may differ between two builds of one minor version. */

export const SYSTEM_NAMESPACE = "squall-system";

/** TCP ports of the processes. */
export const ports = { webhook: 9443, enrolment: 9444, sidecar: 9445, daemon: 9446, metrics: 9090 } as const;

export const labels = {
  /** On namespace and pod, with the value "enabled": both together opt a pod in. */
  inject: "squall.dev/inject",
  /** On a namespace that opted in, with the value "enabled": pods without a sidecar are faulted by the daemon of their node. */
  lateJoin: "squall.dev/late-join",
} as const;

export const OPTED_IN = "enabled";

export const annotations = {
  /** On a pod: names of volumes of its spec that are served through FUSE, separated by commas. */
  volumes: "squall.dev/volumes",
  /** On a pod, written by the injector: the version and families of faults when injected, otherwise the reason code. */
  injected: "squall.dev/injected",
  /** On a namespace, written by the leader: what its policies say to pods with a sidecar; see api/injection-verdict.ts. */
  injectionVerdict: "squall.dev/injection-verdict",
  /** On the pod of a dry run, "true": injected whatever the verdict says, since it is what the verdict is found with. */
  injectionSample: "squall.dev/injection-sample",
  /** On a pod whose images were replaced by pod-failure: what they were, and for whom; see controller/pod-failure/claim.ts. */
  podFailure: "squall.dev/pod-failure",
  /** On an experiment: how long a fault outlives the last heartbeat, a Go duration. */
  lease: "squall.dev/lease",
  /** On an experiment, "true": pods born during an experiment of mode `all` join it. */
  follow: "squall.dev/follow",
  /** On every object of ours, written by the webhook: who answers for it, as JSON. See `api/author.ts`. */
  author: "squall.dev/author",
  /** On an experiment, "true": paused. Chaos Mesh's own name. */
  pause: "experiment.chaos-mesh.org/pause",
  /** On an experiment being deleted, "forced": the finalizer goes at once. Chaos Mesh's own name. */
  cleanFinalizer: "chaos-mesh.chaos-mesh.org/cleanFinalizer",
} as const;

/** Chaos Mesh's own finalizer, kept so that its tools see what they know. */
export const FINALIZER = "chaos-mesh/records";

/** On what the controller needs to the end, while it leads: when Squall is uninstalled it comes off last. */
export const UNINSTALL_FINALIZER = "squall.dev/uninstall";

/** Label `app` of the pods of the daemon, and its service account. */
export const DAEMON = "squall-daemon";

/** The agent of a node, where agents are told apart by the UID of their pod: no UID has a slash. */
export const nodeAgent = (node: string): string => `node/${node}`;

/** The node of an agent's name; undefined for the UID of a pod. */
export const nodeOfAgent = (agent: string): string | undefined => (agent.startsWith("node/") ? agent.slice("node/".length) : undefined);

export const SIDECAR_CONTAINER = "squall-sidecar";

/** ConfigMap with the CA certificates (key `ca.crt`, PEM), written into every opted-in namespace. */
export const CA_CONFIGMAP = "squall-ca";
/** Secret of the controller in the system namespace that keeps the CA keys. */
export const CA_SECRET = "squall-ca";
/** Secret with the webhook's serving certificate (keys `tls.crt`, `tls.key`), written by the leader. */
export const WEBHOOK_SECRET = "squall-webhook-tls";

/** The controller's service account, as the API server names it. */
export const CONTROLLER_ACCOUNT = `system:serviceaccount:${SYSTEM_NAMESPACE}:squall-controller`;

/** Name of our MutatingWebhookConfiguration and of our ValidatingWebhookConfiguration. */
export const WEBHOOK_CONFIGURATION = "squall-webhook";

export const services = { webhook: "squall-webhook", enrolment: "squall-enrolment" } as const;

/** Audience of the projected token that a sidecar enrols with. */
export const ENROLMENT_AUDIENCE = "squall-enrolment";

/** Group id of the sidecar's own traffic, exempt from every rule. */
export const SIDECAR_GID = 65010;

/** Everything of ours in a kernel begins with this. */
export const KERNEL_PREFIX = "squall-";

/** Handle of the root of our tree of queueing disciplines: the kernel refuses to delete one under a handle that is not its own. */
export const ROOT_HANDLE = "c4a0";

/** Mark bits of ours on packets: value and mask, as in `iptables -m mark --mark VALUE/MASK`. */
export const packetMark = { value: 0x5c000000, mask: 0xff000000 } as const;

export const DEFAULT_LEASE_MS = 60_000;

/** API group of the experiments and of our own kinds. */
export const groups = { chaos: "chaos-mesh.org", squall: "squall.dev" } as const;

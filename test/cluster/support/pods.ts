import { readFileSync } from "node:fs";

/** Manifests of what the stories run: pods of the peer program, their Services and experiments. */

const script = readFileSync(new URL("./peer.ts", import.meta.url), "utf8");

export const PEER_IMAGE_ENTRY = ["node", "/peer/peer.ts"] as const;

/** A namespace that opted in (or not), with the peer program in a ConfigMap. */
export function namespace(name: string, { isOptedIn = true } = {}): readonly object[] {
  return [
    { apiVersion: "v1", kind: "Namespace", metadata: { name, labels: isOptedIn ? { "squall.dev/inject": "enabled" } : {} } },
    { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "peer", namespace: name }, data: { "peer.ts": script } },
  ];
}

export interface PeerOptions {
  readonly name: string;
  readonly namespace: string;
  readonly image: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly isLabelled?: boolean;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Merged over the pod's spec. */
  readonly spec?: object;
  /** Merged over the container. */
  readonly container?: object;
}

/** A pod that runs the peer program, labelled for injection unless told otherwise. */
export function peerPod({
  name,
  namespace,
  image,
  labels = {},
  isLabelled = true,
  annotations = {},
  spec = {},
  container = {},
}: PeerOptions): object {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace,
      annotations,
      labels: { peer: name, ...labels, ...(isLabelled ? { "squall.dev/inject": "enabled" } : {}) },
    },
    spec: {
      terminationGracePeriodSeconds: 0,
      containers: [
        {
          name: "peer",
          image,
          imagePullPolicy: "IfNotPresent",
          command: [...PEER_IMAGE_ENTRY, "serve"],
          volumeMounts: [{ name: "peer", mountPath: "/peer" }],
          ...container,
        },
      ],
      volumes: [{ name: "peer", configMap: { name: "peer" } }],
      ...spec,
    },
  };
}

/** A kernel that a node of the lab has; `uml` is there only in a lab with User-Mode Linux. */
export type Kernel = "machine" | "uml";

/** The part of a pod's spec that puts it on the node with that kernel. */
export function placedOn(kernel: Kernel): object {
  return { nodeSelector: { "squall.dev/lab-kernel": kernel }, tolerations: [{ key: "squall.dev/lab-kernel", operator: "Exists" }] };
}

/** A Service in front of the pod of that name, with an address of each family that the cluster has. */
export function peerService({ name, namespace }: { readonly name: string; readonly namespace: string }): object {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace },
    spec: {
      selector: { peer: name },
      ipFamilyPolicy: "PreferDualStack",
      ports: [
        { name: "control", port: 8080 },
        { name: "udp", port: 7001, protocol: "UDP" },
        { name: "upload", port: 7002 },
      ],
    },
  };
}

export interface ExperimentOptions {
  readonly name: string;
  readonly namespace: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly spec: object;
}

/** A NetworkChaos whose source is the pod `from`; the rest of the spec as given. */
export function networkChaos({ name, namespace, annotations = {}, from, spec }: ExperimentOptions & { readonly from: string }): object {
  return {
    apiVersion: "chaos-mesh.org/v1alpha1",
    kind: "NetworkChaos",
    metadata: { name, namespace, annotations },
    spec: { mode: "all", selector: { labelSelectors: { peer: from } }, ...spec },
  };
}

/** The `target` block that means the pod of that name. */
export const target = (name: string): object => ({ mode: "all", selector: { labelSelectors: { peer: name } } });

import { join } from "node:path";
import type { ControlPlane } from "../control-plane.ts";
import { clusterAddresses, familiesOf, type IpFamilies, type IpFamily, type NodeAddresses } from "./addresses.ts";

/** Names that all nodes of the lab share. */
export const lab = {
  /** The network namespace, as ip-netns(8) knows it. */
  namespace: "squall-lab",
  /** This machine's end of the first node's cable. */
  hostDevice: "squall-lab0",
  /** The first node's end of the second node's cable. */
  umlDevice: "squall-uml0",
  apiPort: 6443,
  /** Below each cgroup controller; everything that a node runs is in here. */
  cgroup: "squall-lab",
  containerdSocket: "/run/containerd/containerd.sock",
  pauseImage: "docker.io/library/squall-lab-pause:2",
  /** Label of every node, and taint of the second: which kernel it has. */
  kernelLabel: "squall.dev/lab-kernel",
} as const;

export type NodeName = "lab" | "uml";

/** One node. */
export interface LabNode extends Readonly<Record<IpFamily, NodeAddresses>> {
  readonly name: NodeName;
  /** Value of the label: this machine's own kernel, or User-Mode Linux. */
  readonly kernel: "machine" | "uml";
  /** Whether pods must say that they tolerate it: what is slow there would slow down everything. */
  readonly isTainted: boolean;
}

export const nodes: Readonly<Record<NodeName, LabNode>> = {
  /** Has the control plane. */
  lab: {
    name: "lab",
    kernel: "machine",
    isTainted: false,
    ipv4: { address: "10.250.0.2", gateway: "10.250.0.1", pods: "10.244.0.0/24" },
    ipv6: { address: "fd5c:0:0:2500::2", gateway: "fd5c:0:0:2500::1", pods: "fd5c:0:0:2440::/64" },
  },
  /** Only in a lab that was asked for it. */
  uml: {
    name: "uml",
    kernel: "uml",
    isTainted: true,
    ipv4: { address: "10.251.0.2", gateway: "10.251.0.1", pods: "10.244.1.0/24" },
    ipv6: { address: "fd5c:0:0:2510::2", gateway: "fd5c:0:0:2510::1", pods: "fd5c:0:0:2441::/64" },
  },
};

/** Folders of the machine that a node sees with content of its own, so that nothing it writes stays behind. */
export const ownFolders = [
  "/var/lib/kubelet",
  "/var/lib/containerd",
  "/var/lib/cni",
  "/var/log/pods",
  "/var/log/containers",
  "/var/lib/squall",
] as const;

/** Where the things of the whole cluster are below the lab's state folder. */
export function stateLayout(state: string): Readonly<Record<"kubeconfig" | "auditLog" | "pki" | "logs" | "order", string>> {
  return {
    kubeconfig: join(state, "kubeconfig"),
    auditLog: join(state, "audit.log"),
    pki: join(state, "pki"),
    /** One folder for each node. */
    logs: join(state, "log"),
    /** What the first processes of the nodes are to do; written by `up`. */
    order: join(state, "order.json"),
  };
}

/** Where the things of one node are. */
export interface NodeLayout {
  readonly logs: string;
  readonly configuration: string;
  readonly images: string;
  /** The content of `ownFolders`. */
  readonly folders: string;
  /** Where run-on-node.ts leaves commands for a node that nobody can enter. */
  readonly requests: string;
  /** Appears when the node works. */
  readonly ready: string;
  /** Appears with the reason when it never will. */
  readonly failed: string;
  /** Process id and start time of the process whose death ends the node. */
  readonly outer: string;
}

export function nodeLayout(state: string, { name }: Pick<LabNode, "name">): NodeLayout {
  const own = join(state, "nodes", name);
  return {
    logs: join(stateLayout(state).logs, name),
    configuration: join(own, "configuration"),
    images: join(own, "images"),
    folders: join(own, "folders"),
    requests: join(own, "requests"),
    ready: join(own, "ready"),
    failed: join(own, "failed"),
    outer: join(own, "outer"),
  };
}

export function controlPlaneOf(state: string, ipFamilies: IpFamilies): ControlPlane {
  const { pki, auditLog } = stateLayout(state);
  return {
    etcdPort: 2379,
    etcdPeerPort: 2380,
    apiPort: lab.apiPort,
    bindAddress: "0.0.0.0",
    advertiseAddress: nodes.lab.ipv4.address,
    serviceRanges: familiesOf(ipFamilies).map((family) => clusterAddresses[family].services),
    pki,
    etcdData: join(state, "etcd"),
    auditLog,
    auditPolicy: join(nodeLayout(state, nodes.lab).configuration, "audit-policy.yaml"),
  };
}

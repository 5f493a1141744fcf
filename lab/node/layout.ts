import { join } from "node:path";
import type { ControlPlane } from "../control-plane.ts";

/** Addresses and names of the lab's one node. */
export const node = {
  name: "lab",
  /** The network namespace, as ip-netns(8) knows it. */
  namespace: "squall-lab",
  /** This machine's end of the cable. */
  hostDevice: "squall-lab0",
  hostAddress: "10.250.0.1",
  address: "10.250.0.2",
  podRange: "10.244.0.0/24",
  clusterRange: "10.244.0.0/16",
  dnsAddress: "10.96.0.10",
  apiPort: 6443,
  /** Below each cgroup controller; everything that the lab runs is in here. */
  cgroup: "squall-lab",
  containerdSocket: "/run/containerd/containerd.sock",
  pauseImage: "docker.io/library/squall-lab-pause:1",
} as const;

/** Folders of the machine that the node sees with content of its own, so that nothing it writes stays behind. */
export const ownFolders = ["/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/var/log/pods", "/var/log/containers"] as const;

/** Where things are below the lab's state folder. */
export function stateLayout(state: string): {
  readonly kubeconfig: string;
  readonly auditLog: string;
  readonly pki: string;
  readonly logs: string;
  readonly configuration: string;
  readonly images: string;
  readonly folders: string;
  /** What the node's first process is to do; written by `up`. */
  readonly order: string;
  /** Appears when the cluster works. */
  readonly ready: string;
  /** Appears with the reason when it never will. */
  readonly failed: string;
  /** Process id and start time of the process whose death ends the node. */
  readonly outer: string;
} {
  return {
    kubeconfig: join(state, "kubeconfig"),
    auditLog: join(state, "audit.log"),
    pki: join(state, "pki"),
    logs: join(state, "log"),
    configuration: join(state, "configuration"),
    images: join(state, "images"),
    folders: join(state, "folders"),
    order: join(state, "order.json"),
    ready: join(state, "ready"),
    failed: join(state, "failed"),
    outer: join(state, "outer"),
  };
}

export function controlPlaneOf(state: string): ControlPlane {
  const { pki, auditLog, configuration } = stateLayout(state);
  return {
    etcdPort: 2379,
    etcdPeerPort: 2380,
    apiPort: node.apiPort,
    bindAddress: "0.0.0.0",
    advertiseAddress: node.address,
    pki,
    etcdData: join(state, "etcd"),
    auditLog,
    auditPolicy: join(configuration, "audit-policy.yaml"),
  };
}

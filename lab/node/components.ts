import { join } from "node:path";
import { apiServerArguments, etcdArguments } from "../control-plane.ts";
import type { nodePrograms } from "../programs.ts";
import { controlPlaneOf, node, stateLayout } from "./layout.ts";

export type Binaries = Readonly<Record<(typeof nodePrograms)[number], string>>;

export interface Component {
  readonly name: string;
  readonly argv: readonly string[];
}

/** Files that the components read, below the state folder. */
export function configurationFiles(state: string): Readonly<Record<"containerd" | "cni" | "kubelet" | "corefile", string>> {
  const { configuration } = stateLayout(state);
  return {
    containerd: join(configuration, "containerd.toml"),
    cni: join(configuration, "cni"),
    kubelet: join(configuration, "kubelet.yaml"),
    corefile: join(configuration, "Corefile"),
  };
}

/** The kubeconfig of one component. */
export function kubeconfigOf(state: string, who: "admin" | "controller-manager" | "scheduler" | "kubelet" | "proxy"): string {
  return who === "admin" ? stateLayout(state).kubeconfig : join(stateLayout(state).pki, `${who}.kubeconfig`);
}

/** Those that need nobody else. */
export function firstComponents(state: string, { etcd }: Binaries): readonly Component[] {
  return [
    { name: "etcd", argv: [etcd, ...etcdArguments(controlPlaneOf(state))] },
    { name: "containerd", argv: ["containerd", "--config", configurationFiles(state).containerd] },
  ];
}

export function apiServerComponent(state: string, binaries: Binaries): Component {
  const argv = [binaries["kube-apiserver"], ...apiServerArguments(controlPlaneOf(state)), "--enable-admission-plugins=NodeRestriction"];
  return { name: "kube-apiserver", argv };
}

/** Those that need the API server. */
export function laterComponents(state: string, binaries: Binaries): readonly Component[] {
  const { pki } = stateLayout(state);
  const files = configurationFiles(state);
  return [
    {
      name: "kubelet",
      argv: [
        binaries.kubelet,
        `--config=${files.kubelet}`,
        `--kubeconfig=${kubeconfigOf(state, "kubelet")}`,
        `--hostname-override=${node.name}`,
        `--node-ip=${node.address}`,
        `--cert-dir=${pki}`,
      ],
    },
    {
      name: "kube-controller-manager",
      argv: [
        binaries["kube-controller-manager"],
        `--kubeconfig=${kubeconfigOf(state, "controller-manager")}`,
        `--service-account-private-key-file=${join(pki, "tokens.key")}`,
        `--root-ca-file=${join(pki, "ca.crt")}`,
        `--cluster-signing-cert-file=${join(pki, "ca.crt")}`,
        `--cluster-signing-key-file=${join(pki, "ca.key")}`,
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--allocate-node-cidrs=false",
      ],
    },
    {
      name: "kube-scheduler",
      argv: [binaries["kube-scheduler"], `--kubeconfig=${kubeconfigOf(state, "scheduler")}`, "--leader-elect=false"],
    },
    {
      name: "kube-proxy",
      argv: [
        binaries["kube-proxy"],
        `--kubeconfig=${kubeconfigOf(state, "proxy")}`,
        "--proxy-mode=iptables",
        `--cluster-cidr=${node.clusterRange}`,
        `--hostname-override=${node.name}`,
        // A Service knows a new pod at once; the default holds changes back for a second.
        "--iptables-min-sync-period=100ms",
        // These settings of the kernel are read-only in a network namespace.
        "--conntrack-max-per-core=0",
        "--conntrack-min=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
      ],
    },
    { name: "coredns", argv: [binaries.coredns, "-conf", files.corefile] },
  ];
}

import { join } from "node:path";
import { apiServerArguments, etcdArguments } from "../control-plane.ts";
import type { nodePrograms } from "../programs.ts";
import { clusterAddresses, familiesOf, type IpFamilies } from "./addresses.ts";
import { controlPlaneOf, lab, type LabNode, type NodeName, nodeLayout, nodes, stateLayout } from "./layout.ts";

export type Binaries = Readonly<Record<(typeof nodePrograms)[number], string>>;

export interface Component {
  readonly name: string;
  readonly argv: readonly string[];
}

/** What every component depends on. */
export interface ClusterPlan {
  readonly state: string;
  readonly binaries: Binaries;
  readonly ipFamilies: IpFamilies;
}

/** Files that a node's components read, below the state folder. */
export function configurationFiles(
  state: string,
  node: LabNode,
): Readonly<Record<"containerd" | "cni" | "kubelet" | "corefile" | "certificates", string>> {
  const { configuration } = nodeLayout(state, node);
  return {
    containerd: join(configuration, "containerd.toml"),
    cni: join(configuration, "cni"),
    kubelet: join(configuration, "kubelet.yaml"),
    corefile: join(configuration, "Corefile"),
    certificates: join(configuration, "certificates"),
  };
}

/** Who talks to the API server; each node's kubelet is somebody else. */
export type Identity = "admin" | "controller-manager" | "scheduler" | "proxy" | `kubelet-${NodeName}`;

/** The kubeconfig of one component. */
export function kubeconfigOf(state: string, who: Identity): string {
  return who === "admin" ? stateLayout(state).kubeconfig : join(stateLayout(state).pki, `${who}.kubeconfig`);
}

export function etcdComponent({ state, binaries, ipFamilies }: ClusterPlan): Component {
  return { name: "etcd", argv: [binaries.etcd, ...etcdArguments(controlPlaneOf(state, ipFamilies))] };
}

export function apiServerComponent({ state, binaries, ipFamilies }: ClusterPlan): Component {
  const plane = controlPlaneOf(state, ipFamilies);
  const argv = [binaries["kube-apiserver"], ...apiServerArguments(plane), "--enable-admission-plugins=NodeRestriction"];
  return { name: "kube-apiserver", argv };
}

/** Those of the control plane that need the API server. */
export function controlPlaneComponents({ state, binaries }: ClusterPlan): readonly Component[] {
  const { pki } = stateLayout(state);
  return [
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
        // Each node's CNI configuration has its range.
        "--allocate-node-cidrs=false",
      ],
    },
    {
      name: "kube-scheduler",
      argv: [binaries["kube-scheduler"], `--kubeconfig=${kubeconfigOf(state, "scheduler")}`, "--leader-elect=false"],
    },
    { name: "coredns", argv: [binaries.coredns, "-conf", configurationFiles(state, nodes.lab).corefile] },
  ];
}

/** What runs pods on a node. */
export function containerdComponent({ state }: Pick<ClusterPlan, "state">, node: LabNode): Component {
  return { name: "containerd", argv: ["containerd", "--config", configurationFiles(state, node).containerd] };
}

/** Those of every node that need the API server. */
export function nodeComponents({ state, binaries, ipFamilies }: ClusterPlan, node: LabNode): readonly Component[] {
  const files = configurationFiles(state, node);
  const families = familiesOf(ipFamilies);
  return [
    {
      name: "kubelet",
      argv: [
        binaries.kubelet,
        `--config=${files.kubelet}`,
        `--kubeconfig=${kubeconfigOf(state, `kubelet-${node.name}`)}`,
        `--hostname-override=${node.name}`,
        `--node-ip=${families.map((family) => node[family].address).join(",")}`,
        `--node-labels=${lab.kernelLabel}=${node.kernel}`,
        `--cert-dir=${files.certificates}`,
      ],
    },
    {
      name: "kube-proxy",
      argv: [
        binaries["kube-proxy"],
        `--kubeconfig=${kubeconfigOf(state, "proxy")}`,
        "--proxy-mode=iptables",
        `--cluster-cidr=${families.map((family) => clusterAddresses[family].pods).join(",")}`,
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
  ];
}

import { stringify } from "yaml";
import { DNS_SERVICE_ADDRESS, type IpFamily } from "./addresses.ts";
import { lab, type LabNode, nodes } from "./layout.ts";

/** containerd 1.6's configuration, which later 1.x read too. */
export function renderContainerdConfig({ cni }: { readonly cni: string }): string {
  return `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "${lab.containerdSocket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${lab.pauseImage}"
  # Root without CAP_SYS_RESOURCE, as in many CI machines, may not lower a score: every sandbox would fail.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${cni}"
`;
}

const EVERYTHING: Readonly<Record<IpFamily, string>> = { ipv4: "0.0.0.0/0", ipv6: "::/0" };

/** Pods on one bridge, addresses from the node's own ranges. Pods of another node see them as they are: nothing is masqueraded. */
export function renderCniConfig(node: LabNode, families: readonly IpFamily[]): string {
  return JSON.stringify(
    {
      cniVersion: "0.4.0",
      name: "lab",
      plugins: [
        {
          type: "bridge",
          bridge: "lab0",
          isGateway: true,
          hairpinMode: true,
          ipam: {
            type: "host-local",
            ranges: families.map((family) => [{ subnet: node[family].pods }]),
            routes: families.map((family) => ({ dst: EVERYTHING[family] })),
          },
        },
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    },
    undefined,
    2,
  );
}

export function renderKubeletConfig(
  node: LabNode,
  { ca, certificate, key }: Readonly<Record<"ca" | "certificate" | "key", string>>,
): string {
  return stringify({
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: ca } },
    authorization: { mode: "Webhook" },
    clusterDNS: [DNS_SERVICE_ADDRESS],
    clusterDomain: "cluster.local",
    containerRuntimeEndpoint: `unix://${lab.containerdSocket}`,
    cgroupDriver: "cgroupfs",
    cgroupRoot: `/${lab.cgroup}`,
    failSwapOn: false,
    failCgroupV1: false,
    // A full disk of the machine is not the lab's business, and images that are not in use would have to be loaded again.
    imageGCHighThresholdPercent: 100,
    evictionHard: { "nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi" },
    registerWithTaints: node.isTainted ? [{ key: lab.kernelLabel, value: node.kernel, effect: "NoSchedule" }] : [],
    tlsCertFile: certificate,
    tlsPrivateKeyFile: key,
    // Pods resolve cluster names only: nothing in the lab talks to the world.
    resolvConf: "",
  });
}

export function renderCorefile({ kubeconfig }: { readonly kubeconfig: string }): string {
  return `.:53 {
  bind ${nodes.lab.ipv4.address}
  kubernetes cluster.local in-addr.arpa {
    kubeconfig ${kubeconfig} squall-lab
    pods insecure
  }
  cache 5
  errors
}
`;
}

/** CoreDNS is a process of the node, not a pod: its Service has a hand-made EndpointSlice instead of a selector. */
export function dnsObjects(): string {
  const ports = [
    { name: "dns", port: 53, protocol: "UDP" },
    { name: "dns-tcp", port: 53, protocol: "TCP" },
  ];
  const metadata = { name: "kube-dns", namespace: "kube-system" };
  return JSON.stringify({
    apiVersion: "v1",
    kind: "List",
    items: [
      { apiVersion: "v1", kind: "Service", metadata, spec: { clusterIP: DNS_SERVICE_ADDRESS, ports } },
      {
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: { ...metadata, name: "kube-dns-lab", labels: { "kubernetes.io/service-name": "kube-dns" } },
        addressType: "IPv4",
        ports,
        endpoints: [{ addresses: [nodes.lab.ipv4.address] }],
      },
    ],
  });
}

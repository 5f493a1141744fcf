import { stringify } from "yaml";
import { node } from "./layout.ts";

/** containerd 1.6's configuration, which later 1.x read too. */
export function renderContainerdConfig({ cni }: { readonly cni: string }): string {
  return `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "${node.containerdSocket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${node.pauseImage}"
  # Root without CAP_SYS_RESOURCE, as in many CI machines, may not lower a score: every sandbox would fail.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${cni}"
`;
}

/** Pods on one bridge, addresses from the node's own range. */
export function renderCniConfig(): string {
  return JSON.stringify(
    {
      cniVersion: "0.4.0",
      name: "lab",
      plugins: [
        {
          type: "bridge",
          bridge: "lab0",
          isGateway: true,
          ipMasq: true,
          hairpinMode: true,
          ipam: { type: "host-local", ranges: [[{ subnet: node.podRange }]], routes: [{ dst: "0.0.0.0/0" }] },
        },
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    },
    undefined,
    2,
  );
}

export function renderKubeletConfig({ ca, certificate, key }: Readonly<Record<"ca" | "certificate" | "key", string>>): string {
  return stringify({
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: ca } },
    authorization: { mode: "Webhook" },
    clusterDNS: [node.dnsAddress],
    clusterDomain: "cluster.local",
    containerRuntimeEndpoint: `unix://${node.containerdSocket}`,
    cgroupDriver: "cgroupfs",
    cgroupRoot: `/${node.cgroup}`,
    failSwapOn: false,
    failCgroupV1: false,
    // A full disk of the machine is not the lab's business, and images that are not in use would have to be loaded again.
    imageGCHighThresholdPercent: 100,
    evictionHard: { "nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi" },
    tlsCertFile: certificate,
    tlsPrivateKeyFile: key,
    // Pods resolve cluster names only: nothing in the lab talks to the world.
    resolvConf: "",
  });
}

export function renderCorefile({ kubeconfig }: { readonly kubeconfig: string }): string {
  return `.:53 {
  bind ${node.address}
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
      { apiVersion: "v1", kind: "Service", metadata, spec: { clusterIP: node.dnsAddress, ports } },
      {
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: { ...metadata, name: "kube-dns-lab", labels: { "kubernetes.io/service-name": "kube-dns" } },
        addressType: "IPv4",
        ports,
        endpoints: [{ addresses: [node.address] }],
      },
    ],
  });
}

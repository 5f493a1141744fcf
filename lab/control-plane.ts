import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { API_SERVICE_ADDRESS } from "./node/addresses.ts";
import { createLabAuthority, createRsaKeyPair, type LabAuthority, writeKeyPair } from "./pki.ts";

/** What etcd and kube-apiserver need to know; used by the API-server-only mode and by the whole node. */
export interface ControlPlane {
  readonly etcdPort: number;
  readonly etcdPeerPort: number;
  readonly apiPort: number;
  /** Address that kube-apiserver listens on. */
  readonly bindAddress: string;
  /** Address under which the cluster knows it. */
  readonly advertiseAddress: string;
  /** One for each family of addresses that Services have, the cluster's own first. */
  readonly serviceRanges: readonly string[];
  /** Folder of the certificates, filled by `writeControlPlaneFiles`. */
  readonly pki: string;
  readonly etcdData: string;
  readonly auditLog: string;
  readonly auditPolicy: string;
}

/**
 * Every request is logged twice, when it comes and when its answer is complete (for a watch that is its end); with the user agent, without bodies.
 * See https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/.
 */
const AUDIT_POLICY = {
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["ResponseStarted"],
  rules: [{ level: "Metadata" }],
};

/** Makes the certificates and the audit policy. The returned authority signs for whoever else joins. */
export async function writeControlPlaneFiles({ pki, auditPolicy, bindAddress, advertiseAddress }: ControlPlane): Promise<LabAuthority> {
  await mkdir(pki, { recursive: true });
  const [authority, frontProxy, tokens] = await Promise.all([
    createLabAuthority("squall-lab"),
    createLabAuthority("squall-lab-front-proxy"),
    createRsaKeyPair(),
  ]);
  const dns = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
  const ips = [...new Set(["127.0.0.1", API_SERVICE_ADDRESS, advertiseAddress, bindAddress].filter((ip) => ip !== "0.0.0.0"))];
  const [server, kubeletClient, proxyClient] = await Promise.all([
    authority.issue({ commonName: "kube-apiserver", dns, ips }),
    authority.issue({ commonName: "kube-apiserver-kubelet-client", organization: "system:masters" }),
    frontProxy.issue({ commonName: "front-proxy" }),
  ]);
  await Promise.all([
    writeKeyPair(pki, "ca", authority.ca),
    writeFile(join(pki, "front-proxy-ca.crt"), frontProxy.ca.certificate),
    writeKeyPair(pki, "apiserver", server),
    writeKeyPair(pki, "kubelet-client", kubeletClient),
    writeKeyPair(pki, "front-proxy", proxyClient),
    writeFile(join(pki, "tokens.key"), tokens.privateKey, { mode: 0o600 }),
    writeFile(join(pki, "tokens.pub"), tokens.publicKey),
    writeFile(auditPolicy, stringify(AUDIT_POLICY)),
  ]);
  return authority;
}

/** etcd for a cluster that nobody will miss: it never waits for the disk. */
export function etcdArguments({ etcdData, etcdPort, etcdPeerPort }: ControlPlane): readonly string[] {
  const client = `http://127.0.0.1:${etcdPort}`;
  const peer = `http://127.0.0.1:${etcdPeerPort}`;
  return [
    `--data-dir=${etcdData}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=default=${peer}`,
    "--unsafe-no-fsync",
    // As kubeadm sets it: without progress notices, watches of kinds that nobody changes get no bookmarks.
    "--watch-progress-notify-interval=5s",
    "--log-level=warn",
  ];
}

export function apiServerArguments(plane: ControlPlane): readonly string[] {
  const pki = (file: string): string => join(plane.pki, file);
  return [
    `--etcd-servers=http://127.0.0.1:${plane.etcdPort}`,
    `--service-cluster-ip-range=${plane.serviceRanges.join(",")}`,
    `--secure-port=${plane.apiPort}`,
    `--bind-address=${plane.bindAddress}`,
    `--advertise-address=${plane.advertiseAddress}`,
    `--tls-cert-file=${pki("apiserver.crt")}`,
    `--tls-private-key-file=${pki("apiserver.key")}`,
    `--client-ca-file=${pki("ca.crt")}`,
    "--authorization-mode=Node,RBAC",
    "--allow-privileged=true",
    "--service-account-issuer=https://kubernetes.default.svc",
    `--service-account-key-file=${pki("tokens.pub")}`,
    `--service-account-signing-key-file=${pki("tokens.key")}`,
    `--kubelet-client-certificate=${pki("kubelet-client.crt")}`,
    `--kubelet-client-key=${pki("kubelet-client.key")}`,
    // The node's name does not resolve: without this, exec and logs fail.
    "--kubelet-preferred-address-types=InternalIP",
    `--proxy-client-cert-file=${pki("front-proxy.crt")}`,
    `--proxy-client-key-file=${pki("front-proxy.key")}`,
    `--requestheader-client-ca-file=${pki("front-proxy-ca.crt")}`,
    "--requestheader-allowed-names=front-proxy",
    "--requestheader-username-headers=X-Remote-User",
    "--requestheader-group-headers=X-Remote-Group",
    "--requestheader-extra-headers-prefix=X-Remote-Extra-",
    `--audit-log-path=${plane.auditLog}`,
    `--audit-policy-file=${plane.auditPolicy}`,
    // On its way at once: tests count requests right after they were answered.
    "--audit-log-mode=blocking-strict",
  ];
}

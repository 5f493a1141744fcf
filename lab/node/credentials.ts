import { writeWhole } from "../files.ts";
import { renderKubeconfig } from "../kubeconfig.ts";
import { type LabAuthority, type LeafRequest, writeKeyPair } from "../pki.ts";
import type { IpFamily } from "./addresses.ts";
import { type Identity, kubeconfigOf } from "./components.ts";
import { lab, type NodeName, nodes, stateLayout } from "./layout.ts";

/**
 * Writes a certificate and kubeconfig for each component, with the names that Kubernetes' own roles are bound to. Those of the second node
 * are always made: it may join later.
 */
export async function writeCredentials(state: string, authority: LabAuthority, families: readonly IpFamily[]): Promise<void> {
  const server = `https://${nodes.lab.ipv4.address}:${lab.apiPort}`;
  const requests: Readonly<Record<Identity, LeafRequest>> = {
    admin: { commonName: "admin", organization: "system:masters" },
    "controller-manager": { commonName: "system:kube-controller-manager" },
    scheduler: { commonName: "system:kube-scheduler" },
    proxy: { commonName: "system:kube-proxy" },
    "kubelet-lab": kubeletRequest("lab", families),
    "kubelet-uml": kubeletRequest("uml", families),
  };
  await Promise.all(
    Object.entries(requests).map(async ([key, request]) => {
      const who = key as Identity;
      const client = await authority.issue(request);
      // A kubelet serves exec and logs with the same certificate.
      if (who === "kubelet-lab" || who === "kubelet-uml") await writeKeyPair(stateLayout(state).pki, who, client);
      const file = kubeconfigOf(state, who);
      // The second node begins when it sees its own.
      await writeWhole(file, renderKubeconfig({ server, ca: authority.ca.certificate, client }), { mode: 0o600 });
    }),
  );
}

function kubeletRequest(name: NodeName, families: readonly IpFamily[]): LeafRequest {
  return {
    commonName: `system:node:${name}`,
    organization: "system:nodes",
    dns: [name],
    ips: families.map((family) => nodes[name][family].address),
  };
}

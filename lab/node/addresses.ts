/** The network of the lab: which addresses its nodes, pods and Services have. IPv6 ones are of a unique local prefix, see RFC 4193. */

export type IpFamily = "ipv4" | "ipv6";

/** Which addresses a cluster gives to everything in it; fixed when it starts. */
export type IpFamilies = "ipv4" | "dual";

/** The first one is the cluster's own: Services that ask for no family get it. */
export function familiesOf(ipFamilies: IpFamilies): readonly IpFamily[] {
  return ipFamilies === "dual" ? ["ipv4", "ipv6"] : ["ipv4"];
}

interface ClusterAddresses {
  readonly services: string;
  readonly pods: string;
  /** Of the network between two nodes, or node and machine. */
  readonly prefixLength: number;
}

export const clusterAddresses: Readonly<Record<IpFamily, ClusterAddresses>> = {
  ipv4: { services: "10.96.0.0/16", pods: "10.244.0.0/16", prefixLength: 24 },
  // A range of Services may not be larger than /108.
  ipv6: { services: "fd5c:0:0:96::/112", pods: "fd5c:0:0:2440::/60", prefixLength: 64 },
};

/** The first address of the range is the Service of the API server itself. */
export const API_SERVICE_ADDRESS = "10.96.0.1";
export const DNS_SERVICE_ADDRESS = "10.96.0.10";

export interface NodeAddresses {
  readonly address: string;
  /** The other end of the node's cable. */
  readonly gateway: string;
  readonly pods: string;
}

/** Which Services stand for a set of pods, and which do so only in part. */

/** A pod as another pod sees it. */
export interface Peer {
  readonly uid: string;
  readonly addresses: readonly string[];
}

export interface ServiceCoverage {
  /** Addresses of the Services all of whose endpoints are among the peers: packets to them leave a pod with these. */
  readonly addresses: readonly string[];
  /** NAMESPACE/NAME of the Services that have other endpoints, too: traffic through them cannot be told apart. */
  readonly partly: readonly string[];
}

interface ServiceLike {
  readonly metadata: { readonly name: string; readonly namespace?: string | undefined };
  readonly spec: { readonly clusterIP?: string | undefined; readonly clusterIPs: readonly string[] };
}

interface SliceLike {
  readonly metadata: { readonly namespace?: string | undefined; readonly labels?: Readonly<Record<string, string>> | undefined };
  readonly endpoints: readonly {
    readonly addresses: readonly string[];
    readonly conditions?: { readonly ready?: boolean | null | undefined; readonly serving?: boolean | null | undefined } | undefined;
  }[];
}

/** Label of an EndpointSlice that names its Service. */
const SERVICE_NAME = "kubernetes.io/service-name";

/** Pure. A Service that nothing serves, or that has no address of its own, stands for nobody. */
export function coverServices(peers: readonly Peer[], services: readonly ServiceLike[], slices: readonly SliceLike[]): ServiceCoverage {
  const ofPeers = new Set(peers.flatMap(({ addresses }) => addresses));
  const keyOf = (namespace: string | undefined, name: string | undefined): string => `${namespace ?? ""}/${name ?? ""}`;
  const slicesOf = Map.groupBy(slices, ({ metadata }) => keyOf(metadata.namespace, metadata.labels?.[SERVICE_NAME]));
  const addresses = new Set<string>();
  const partly = new Set<string>();
  for (const { metadata, spec } of services) {
    const key = keyOf(metadata.namespace, metadata.name);
    const own = (spec.clusterIPs.length > 0 ? spec.clusterIPs : [spec.clusterIP ?? ""]).filter((ip) => ip !== "" && ip !== "None");
    const endpoints = (slicesOf.get(key) ?? []).flatMap((slice) => slice.endpoints);
    const ready = endpoints.filter(({ conditions }) => conditions?.ready !== false);
    // kube-proxy sends new connections to endpoints that end and still serve only where none is ready.
    const used = ready.length > 0 ? ready : endpoints.filter(({ conditions }) => conditions?.serving === true);
    const serving = used.flatMap((endpoint) => endpoint.addresses);
    const covered = serving.filter((address) => ofPeers.has(address)).length;
    if (own.length === 0 || covered === 0) continue;
    if (covered === serving.length) for (const address of own) addresses.add(address);
    else partly.add(key);
  }
  return { addresses: [...addresses].toSorted(), partly: [...partly].toSorted() };
}

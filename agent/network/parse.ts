import ipaddr from "ipaddr.js";
import type { Endpoint, Peers } from "../../proto/gen/faults.ts";
import { type Family, families } from "./families.ts";

declare const entry: unique symbol;
/** A network in CIDR notation, host bits cleared, or NETWORK,PROTOCOL:PORT, as ipset takes it. Only this file makes it. */
export type Entry = string & { readonly [entry]: true };

/** What a packet's other end must be, in one family of addresses. */
export interface PeerSets {
  readonly networks: readonly Entry[];
  /** Networks with a port, each for TCP and for UDP. */
  readonly endpoints: readonly Entry[];
}

export type PeerMatch = { readonly [F in Family]: PeerSets };

const MOST_NETWORKS = 20_000;

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: string; readonly message: string; readonly isTransient?: boolean };

/** Addresses of host names, as far as they are known; lower case. */
export type ResolvedNames = ReadonlyMap<string, readonly string[]>;

/** Checks what came over the wire as if the controller's own checks did not exist. Sorted, without duplicates. */
export function parsePeers({ networks, endpoints, hostNames }: Peers, resolved: ResolvedNames): Parsed<PeerMatch> {
  const all: Endpoint[] = [...networks.map((network) => ({ network, port: 0 })), ...endpoints];
  for (const { name, port } of hostNames) {
    const addresses = resolved.get(name.toLowerCase());
    if (addresses === undefined)
      return refuse("NameNotResolved", `The host name ${show(name)} cannot be resolved in this pod; it is tried again.`, true);
    all.push(...addresses.map((address) => ({ network: `${address}/${address.includes(":") ? 128 : 32}`, port })));
  }
  if (all.length > MOST_NETWORKS)
    return refuse("InvalidPeers", `${all.length} networks are more than the ${MOST_NETWORKS} that one rule may have.`);
  const found = {
    ipv4: { networks: new Set<string>(), endpoints: new Set<string>() },
    ipv6: { networks: new Set<string>(), endpoints: new Set<string>() },
  };
  for (const { network, port } of all) {
    const parsed = parseNetwork(network);
    if (parsed === undefined) return refuse("InvalidPeers", `${show(network)} is no network in CIDR notation.`);
    if (!Number.isInteger(port) || port < 0 || port > 65_535) return refuse("InvalidPeers", `${port} is no port.`);
    const { family, halves } = parsed;
    for (const half of halves) {
      if (port === 0) found[family].networks.add(half);
      else for (const protocol of ["tcp", "udp"]) found[family].endpoints.add(`${half},${protocol}:${port}`);
    }
  }
  const sortedOf = (family: Family): PeerSets => ({
    networks: [...found[family].networks].toSorted() as Entry[],
    endpoints: [...found[family].endpoints].toSorted() as Entry[],
  });
  return { ok: true, value: { ipv4: sortedOf("ipv4"), ipv6: sortedOf("ipv6") } };
}

/** hash:net holds no /0: two halves are everything. */
function parseNetwork(text: string): { readonly family: Family; readonly halves: readonly string[] } | undefined {
  const [address = "", bits = "", ...more] = text.length > 50 ? [] : text.split("/");
  if (more.length > 0 || !/^\d{1,3}$/.test(bits)) return undefined;
  if (ipaddr.IPv4.isValidFourPartDecimal(address)) {
    if (Number(bits) === 0) return { family: "ipv4", halves: ["0.0.0.0/1", "128.0.0.0/1"] };
    if (Number(bits) > 32) return undefined;
    return { family: "ipv4", halves: [`${ipaddr.IPv4.networkAddressFromCIDR(text).toString()}/${Number(bits)}`] };
  }
  if (!address.includes(":") || address.includes("%") || !ipaddr.IPv6.isValid(address) || Number(bits) > 128) return undefined;
  if (Number(bits) === 0) return { family: "ipv6", halves: ["::/1", "8000::/1"] };
  return { family: "ipv6", halves: [`${ipaddr.IPv6.networkAddressFromCIDR(text).toString()}/${Number(bits)}`] };
}

const show = (text: string): string => JSON.stringify(text.slice(0, 50));

function refuse(reason: string, message: string, isTransient = false): Parsed<never> {
  return { ok: false, reason, message, isTransient };
}

/** Whether some packet could match both; undefined is everything. */
export function mayOverlap(one: PeerMatch | undefined, other: PeerMatch | undefined): boolean {
  if (one === undefined || other === undefined) return true;
  return families.some((family) => rangesOverlap(rangesOf(one[family], family), rangesOf(other[family], family)));
}

type Range = readonly [first: bigint, last: bigint];

function rangesOf({ networks, endpoints }: PeerSets, family: Family): readonly Range[] {
  const width = family === "ipv4" ? 32n : 128n;
  return [...networks, ...endpoints.map((endpoint) => endpoint.slice(0, endpoint.indexOf(",")))]
    .map((network): Range => {
      const [address = "", bits = "0"] = network.split("/");
      const first = ipaddr
        .parse(address)
        .toByteArray()
        .reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
      return [first, first + 2n ** (width - BigInt(bits)) - 1n];
    })
    .toSorted((a, b) => (a[0] < b[0] ? -1 : 1));
}

function rangesOverlap(one: readonly Range[], other: readonly Range[]): boolean {
  let j = 0;
  for (const [first, last] of one) {
    while (j < other.length && (other[j]?.[1] ?? 0n) < first) j++;
    const next = other[j];
    if (next !== undefined && next[0] <= last) return true;
  }
  return false;
}

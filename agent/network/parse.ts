import ipaddr from "ipaddr.js";

declare const network: unique symbol;
/** An IPv4 network in CIDR notation, host bits cleared, at most half of all addresses (hash:net holds no /0). Only parseNetworks makes it. */
export type Network = string & { readonly [network]: true };

const MOST_NETWORKS = 20_000;

export type ParsedNetworks =
  | { readonly ok: true; readonly networks: readonly Network[] }
  | { readonly ok: false; readonly reason: "InvalidPeers" | "NotYetSupported"; readonly message: string };

/** Checks what came over the wire as the controller's own checks did not exist. Sorted, without duplicates. */
export function parseNetworks(texts: readonly string[]): ParsedNetworks {
  if (texts.length > MOST_NETWORKS)
    return refuse("InvalidPeers", `${texts.length} networks are more than the ${MOST_NETWORKS} that one rule may have.`);
  const found = new Set<string>();
  for (const text of texts) {
    const [address = "", bits = "", ...more] = text.length > 50 ? [] : text.split("/");
    if (address.includes(":") && ipaddr.IPv6.isValid(address)) return refuse("NotYetSupported", "IPv6 networks cannot be faulted yet.");
    if (more.length > 0 || !ipaddr.IPv4.isValidFourPartDecimal(address) || !/^\d{1,2}$/.test(bits) || Number(bits) > 32) {
      return refuse("InvalidPeers", `${JSON.stringify(text.slice(0, 50))} is no network in CIDR notation.`);
    }
    if (Number(bits) === 0) {
      found.add("0.0.0.0/1").add("128.0.0.0/1");
    } else {
      found.add(`${ipaddr.IPv4.networkAddressFromCIDR(text).toString()}/${Number(bits)}`);
    }
  }
  return { ok: true, networks: [...found].toSorted() as Network[] };
}

function refuse(reason: "InvalidPeers" | "NotYetSupported", message: string): ParsedNetworks {
  return { ok: false, reason, message };
}

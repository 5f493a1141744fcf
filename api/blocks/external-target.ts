import ipaddr from "ipaddr.js";
import { show } from "../text.ts";
import { isDnsSubdomain } from "./scalars.ts";

/** One entry of `externalTargets`. */
export type ExternalTarget =
  | {
      readonly is: "network";
      readonly family: "ipv4" | "ipv6" /** CIDR with the host bits cleared. */;
      readonly network: string;
      readonly port?: number;
    }
  | { readonly is: "name"; readonly name: string; readonly port?: number };

/** Reads an IPv4 or IPv6 address or CIDR, or a host name, each optionally with `:PORT` (IPv6 then in brackets); undefined for anything else. */
export function parseExternalTarget(text: string): ExternalTarget | undefined {
  const bracketed = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text);
  const plain = /^([^:[\]]+)(?::(\d{1,5}))?$/.exec(text);
  const [, host = text, portText] = bracketed ?? plain ?? [];
  const port = portText === undefined ? undefined : Number(portText);
  if (port !== undefined && (port < 1 || port > 65_535)) return undefined;
  const withPort = port === undefined ? {} : { port };
  const network = parseNetwork(host);
  if (network) return { is: "network", ...network, ...withPort };
  const name = host.toLowerCase().replace(/\.$/, "");
  return !bracketed && plain && isDnsSubdomain(name) && !/^[\d.]+$/.test(name) ? { is: "name", name, ...withPort } : undefined;
}

function parseNetwork(text: string): { readonly family: "ipv4" | "ipv6"; readonly network: string } | undefined {
  const [address = "", bits, ...more] = text.split("/");
  if (more.length > 0 || address.length > 45) return undefined;
  const isIPv4 = ipaddr.IPv4.isValidFourPartDecimal(address);
  if (!isIPv4 && !(address.includes(":") && ipaddr.IPv6.isValid(address) && !address.includes("%"))) return undefined;
  const width = isIPv4 ? 32 : 128;
  if (bits !== undefined && !(/^\d{1,3}$/.test(bits) && Number(bits) <= width)) return undefined;
  const cidr = `${address}/${bits ?? width}`;
  const network = isIPv4 ? ipaddr.IPv4.networkAddressFromCIDR(cidr) : ipaddr.IPv6.networkAddressFromCIDR(cidr);
  return { family: isIPv4 ? "ipv4" : "ipv6", network: `${network.toString()}/${bits ?? width}` };
}

export function problemWithExternalTarget(text: string): string | undefined {
  return parseExternalTarget(text) === undefined
    ? `${show(text)} is no address. Write an IP address, a CIDR or a host name, each with ":PORT" if wanted, such as "203.0.113.7", "203.0.113.0/24" or "db.example.com:5432".`
    : undefined;
}

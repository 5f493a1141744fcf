import { createHash } from "node:crypto";
import { KERNEL_PREFIX } from "../../common/names.ts";

/** Names of ours in the kernel. ipset allows 31 characters, iptables 28. */

export const chains = { output: `${KERNEL_PREFIX}out`, input: `${KERNEL_PREFIX}in`, postrouting: `${KERNEL_PREFIX}post` } as const;

/** The set that gates the jumps into our chains. */
export const GATE = `${KERNEL_PREFIX}gate`;

/** Number of the NFQUEUE that the engine serves. */
export const QUEUE = 23_644;

/** Twelve hexadecimal digits that stand for a fault in names: equal for equal ids, and safe whatever the id holds. */
export function shortId(faultId: string): string {
  return createHash("sha256").update(faultId).digest("hex").slice(0, 12);
}

/** The set whose entries are the kernel-held clock of one fault. */
export const gateOf = (faultId: string): string => `${KERNEL_PREFIX}g-${shortId(faultId)}`;

/** The set with the other side of one rule of a fault. Named after its content, so that it never has to change. */
export function peersOf(networks: readonly string[]): string {
  return `${KERNEL_PREFIX}p-${createHash("sha256").update(networks.join("\n")).digest("hex").slice(0, 16)}`;
}

/** Begins the comment that tells one version of our rules from another. */
export const VERSION_PREFIX = `${KERNEL_PREFIX}v-`;

import { createHash } from "node:crypto";
import { KERNEL_PREFIX } from "../../common/names.ts";
import type { Family } from "./families.ts";

/** Names of ours in the kernel. ipset allows 31 characters, iptables 28. */

export const chains = {
  /** Drops what leaves and what arrives. */
  output: `${KERNEL_PREFIX}out`,
  input: `${KERNEL_PREFIX}in`,
  /** Sorts into classes what leaves, for the queueing disciplines of a device and for queues of the engine, and what arrives. */
  leaving: `${KERNEL_PREFIX}post`,
  classes: `${KERNEL_PREFIX}class`,
  arriving: `${KERNEL_PREFIX}arrive`,
} as const;

/** The chain of the probes of the kubelet beside one of ours, where some fault does not spare them. */
export const probesOf = (chain: string): string => `${chain}-probe`;

/** The set that gates the jumps into our chains. */
export const gate = (family: Family): string => `${KERNEL_PREFIX}gate${suffix(family)}`;

/** The set whose entries are the kernel-held clock of one fault. */
export const gateOf = (faultId: string, family: Family): string => `${KERNEL_PREFIX}g${suffix(family)}-${shortId(faultId)}`;

const suffix = (family: Family): string => (family === "ipv4" ? "" : "6");

/** Twelve hexadecimal digits that stand for a fault in names: equal for equal ids, and safe whatever the id holds. */
export function shortId(faultId: string): string {
  return createHash("sha256").update(faultId).digest("hex").slice(0, 12);
}

/** A set of `what` with this content. Named after it, so that it never has to change. */
export function setOf(what: "peers" | "endpoints" | "list", content: readonly string[]): string {
  const hash = createHash("sha256").update(content.join("\n")).digest("hex").slice(0, 16);
  return `${KERNEL_PREFIX}${{ peers: "p", endpoints: "e", list: "l" }[what]}-${hash}`;
}

/** Begins the comment that tells one version of our rules from another. */
export const VERSION_PREFIX = `${KERNEL_PREFIX}v-`;

const FIRST_HANDLE = 0xc4a1;
const FIRST_QUEUE = 20_480;
const NUMBERS = 0x2000;

/**
 * Numbers for keys, each as far as possible the same in every plan that has the key: the kernel and the engine go from one plan to the next
 * without a moment in which a number means something else.
 */
function numbersOf(keys: readonly string[], first: number): ReadonlyMap<string, number> {
  const taken = new Map<number, string>();
  for (const key of keys.toSorted()) {
    let offset = Number.parseInt(shortId(key).slice(0, 8), 16) % NUMBERS;
    while (taken.has(first + offset)) offset = (offset + 1) % NUMBERS;
    taken.set(first + offset, key);
  }
  return new Map([...taken].map(([number, key]) => [key, number]));
}

/** Numbers of NFQUEUEs. */
export const queuesOf = (keys: readonly string[]): ReadonlyMap<string, number> => numbersOf(keys, FIRST_QUEUE);
/** Major numbers of queueing disciplines. */
export const handlesOf = (keys: readonly string[]): ReadonlyMap<string, number> => numbersOf(keys, FIRST_HANDLE);
/** Minor numbers of classes below our root. */
export const minorsOf = (keys: readonly string[]): ReadonlyMap<string, number> => numbersOf(keys, 1);

import { isIPv4 } from "node:net";

/** All faults that the engine carries out at once. */
export interface EngineRules {
  readonly faults: readonly EngineFault[];
}

export interface EngineFault {
  readonly id: string;
  /** IPv4 networks in CIDR notation; a packet to any of them is matched. */
  readonly networks: readonly string[] | "all";
  readonly latencyUs: number;
  /** The latency of a packet varies evenly by this much to either side; packets may overtake one another. */
  readonly jitterUs: number;
  /** Share of packets that are lost, 0 to 100. */
  readonly lossPercent: number;
}

/** What one fault did since it was first named to `setRules`. Wall-clock times in milliseconds since 1970, 0 for never. */
export interface FaultCounters {
  readonly matched: number;
  readonly dropped: number;
  readonly delayed: number;
  readonly firstMs: number;
  readonly lastMs: number;
}

export type MutableCounters = { -readonly [K in keyof FaultCounters]: FaultCounters[K] };

/** The combined faults of one destination: latencies add up, jitters are drawn one by one, losses are independent events. */
export interface Effect {
  readonly latencyMs: number;
  /** Half widths of the jitters. */
  readonly jittersMs: readonly number[];
  readonly losses: readonly { readonly probability: number; readonly counters: MutableCounters }[];
  /** The counters of all matching faults, and of those that delay. */
  readonly matching: readonly MutableCounters[];
  readonly delaying: readonly MutableCounters[];
}

export interface CompiledRules {
  /** What happens to packets to this IPv4 address (a number); undefined for nothing. */
  effectOf(address: number): Effect | undefined;
  /** By fault id, in the order of the rules. */
  readonly counters: ReadonlyMap<string, FaultCounters>;
}

interface CompiledFault {
  readonly fault: EngineFault;
  readonly networks: readonly Network[] | "all";
  readonly counters: MutableCounters;
}

interface Network {
  readonly base: number;
  readonly mask: number;
}

export type Random = () => number;

/**
 * Prepares rules for questions about addresses. Faults that `before` already had keep their counters. Throws RangeError for
 * a network that is not IPv4 and for a number outside its range.
 */
export function compileRules(rules: EngineRules, before?: CompiledRules): CompiledRules {
  const counters = new Map<string, MutableCounters>();
  const faults = rules.faults.map((fault): CompiledFault => {
    requireRanges(fault);
    const own = { matched: 0, dropped: 0, delayed: 0, firstMs: 0, lastMs: 0, ...before?.counters.get(fault.id) };
    counters.set(fault.id, own);
    return { fault, networks: fault.networks === "all" ? "all" : fault.networks.map(parseNetwork), counters: own };
  });
  return {
    counters,
    effectOf(address) {
      const matching = faults.filter(({ networks }) => networks === "all" || networks.some((network) => contains(network, address)));
      return matching.length === 0 ? undefined : combine(matching);
    },
  };
}

function combine(matching: readonly CompiledFault[]): Effect {
  return {
    latencyMs: matching.reduce((sum, { fault }) => sum + fault.latencyUs, 0) / 1000,
    jittersMs: matching.filter(({ fault }) => fault.jitterUs > 0).map(({ fault }) => fault.jitterUs / 1000),
    losses: matching
      .filter(({ fault }) => fault.lossPercent > 0)
      .map(({ fault, counters }) => ({ probability: fault.lossPercent / 100, counters })),
    matching: matching.map(({ counters }) => counters),
    delaying: matching.filter(({ fault }) => fault.latencyUs > 0 || fault.jitterUs > 0).map(({ counters }) => counters),
  };
}

/** The counters of the fault that loses this packet; undefined when it is not lost. The first that hits gets the count. */
export function drawLoss(effect: Effect, random: Random): MutableCounters | undefined {
  for (const loss of effect.losses) if (random() < loss.probability) return loss.counters;
  return undefined;
}

/** How long to hold this packet, never below 0. */
export function drawDelayMs(effect: Effect, random: Random): number {
  let delayMs = effect.latencyMs;
  for (const halfWidth of effect.jittersMs) delayMs += (random() * 2 - 1) * halfWidth;
  return Math.max(delayMs, 0);
}

/** `10.1.2.3/32` as numbers. */
export function parseNetwork(text: string): Network {
  const [address = "", prefix = "", ...rest] = text.split("/");
  const bits = /^\d{1,2}$/.test(prefix) ? Number(prefix) : Number.NaN;
  if (!isIPv4(address) || !(bits >= 0 && bits <= 32) || rest.length > 0)
    throw new RangeError(`"${text}" is not an IPv4 network in CIDR notation such as 10.1.2.3/32.`);
  const mask = bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0;
  const number = address.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
  return { base: (number & mask) >>> 0, mask };
}

const contains = ({ base, mask }: Network, address: number): boolean => (address & mask) >>> 0 === base;

function requireRanges({ id, latencyUs, jitterUs, lossPercent }: EngineFault): void {
  const wrong = !(latencyUs >= 0 && latencyUs < Infinity)
    ? `latencyUs ${latencyUs}`
    : !(jitterUs >= 0 && jitterUs < Infinity)
      ? `jitterUs ${jitterUs}`
      : !(lossPercent >= 0 && lossPercent <= 100)
        ? `lossPercent ${lossPercent}`
        : undefined;
  if (wrong !== undefined) throw new RangeError(`Fault ${id}: ${wrong} is out of range.`);
}

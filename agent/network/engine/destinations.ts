import type { CompiledRules, Effect } from "./rules.ts";

/** What the engine remembers of an address that packets go to. */
export interface Destination {
  effect: Effect | undefined;
  /** When its last packet without jitter is due: later ones must not overtake it, not even under new rules. */
  lastDueMs: number;
}

export interface Destinations {
  find(address: number): Destination;
  setRules(rules: CompiledRules): void;
}

/** A scan of a large network must not fill the memory. */
const MOST_REMEMBERED = 16_384;

/** Answers per packet from a map; the rules are asked once per address. */
export function createDestinations(rules: CompiledRules): Destinations {
  let current = rules;
  const known = new Map<number, Destination>();
  return {
    find(address) {
      const found = known.get(address);
      if (found !== undefined) return found;
      if (known.size >= MOST_REMEMBERED) known.clear();
      const destination = { effect: current.effectOf(address), lastDueMs: 0 };
      known.set(address, destination);
      return destination;
    },
    setRules(next) {
      current = next;
      for (const [address, destination] of known) destination.effect = next.effectOf(address);
    },
  };
}

import type { Passport } from "../../proto/gen/agent.ts";

/** More than any node has; a passport is what an agent says of itself, and pods are not trusted. */
const MOST_ENTRIES = 32;
const MOST_CHARACTERS = 200;

/** What agents said of their surroundings, by their names. Learnt when they enrol and again with each report; nothing is known of the others. */
export class Passports {
  readonly #known = new Map<string, Passport>();

  learn(agent: string, passport: Passport): void {
    this.#known.set(agent, {
      ...passport,
      engines: clip(passport.engines),
      missing: clip(passport.missing),
      families: clip(passport.families),
      devices: clip(passport.devices),
      familiesOfFaults: clip(passport.familiesOfFaults),
    });
  }

  of(agent: string): Passport | undefined {
    return this.#known.get(agent);
  }

  /** Lets go of agents that are no more. */
  keepOnly(isThere: (agent: string) => boolean): void {
    for (const uid of this.#known.keys()) if (!isThere(uid)) this.#known.delete(uid);
  }

  get size(): number {
    return this.#known.size;
  }
}

const clip = (texts: readonly string[]): string[] =>
  texts.slice(0, MOST_ENTRIES).map((text) => text.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, MOST_CHARACTERS));

import type { Clock } from "../../common/clock.ts";

/** Enough to have something to do while answers are under way; with more, each would only take longer. */
const CALLS_AT_ONCE = 128;
/** After this long a call no longer counts: agents that do not answer must not keep the others waiting. */
const PLACE_MS = 500;
/** So much of what could wait is done before new calls have their turn. */
const AT_A_STRETCH = 32;

/**
 * The order in which one controller talks to very many agents. Calls, which change faults, come first and so many at a time: were all begun
 * at once, each would take until all are done, and time out. What keeps faults alive can wait until no call does.
 */
export class Pace {
  readonly #clock: Clock;
  readonly #urgent: (() => void)[] = [];
  readonly #calls: (() => void)[] = [];
  readonly #leftForLater = new Set<() => void>();
  #taken = 0;
  #isDoingLater = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Makes a call as soon as there is a place for it. Gives and throws what the call does. Urgent is one to an agent that has answered and
   * hears nothing else until it is made: the leases of what it has in force run. There is one of those for each connection at most.
   */
  async call<T>(make: () => Promise<T>, { isUrgent = false }: { readonly isUrgent?: boolean } = {}): Promise<T> {
    if (this.#taken < CALLS_AT_ONCE) this.#taken += 1;
    else await new Promise<void>((resolve) => (isUrgent ? this.#urgent : this.#calls).push(resolve));
    let hasPlace = true;
    const leave = (): void => {
      if (hasPlace) this.#passOn();
      hasPlace = false;
    };
    const cancel = this.#clock.after(PLACE_MS, leave);
    try {
      return await make();
    } finally {
      cancel();
      leave();
    }
  }

  /** Does this when no call waits, maybe at once. The returned function takes it back. */
  later(act: () => void): () => void {
    this.#leftForLater.add(act);
    if (!this.#isDoingLater) this.#doLater();
    return () => void this.#leftForLater.delete(act);
  }

  /** A place that becomes free goes to the call that has waited longest, urgent ones first. */
  #passOn(): void {
    const next = this.#urgent.shift() ?? this.#calls.shift();
    if (next !== undefined) return next();
    this.#taken -= 1;
    if (!this.#isDoingLater) this.#doLater();
  }

  #doLater(): void {
    let left = AT_A_STRETCH;
    this.#isDoingLater = false;
    for (const act of this.#leftForLater) {
      if (this.#urgent.length + this.#calls.length > 0) return;
      if (left === 0) {
        this.#isDoingLater = true;
        setImmediate(() => this.#doLater());
        return;
      }
      left -= 1;
      this.#leftForLater.delete(act);
      act();
    }
  }
}

import type { Clock } from "../common/clock.ts";

/**
 * Knows whether this process stood still a moment ago. What waited in its sockets meanwhile may be of any age: a heartbeat of a controller that is
 * dead by now would renew leases, and a fault would begin long after its deadline. So it is not to be believed.
 */
export interface Wakefulness {
  readonly stoodStill: boolean;
  close(): void;
}

const LOOK_EVERY_MS = 1_000;
/** A starved process may miss some looks. A lease that is over by more than this is never renewed by what waited. */
const LONGEST_NAP_MS = 4_000;
/** What waited is read within this time after the process goes on. */
const DISTRUST_MS = 1_000;

export function watchWakefulness(clock: Clock): Wakefulness {
  let lastMs = clock.monotonicMs();
  let distrustUntilMs = lastMs;
  let cancel = (): void => undefined;
  const look = (): number => {
    const nowMs = clock.monotonicMs();
    if (nowMs - lastMs > LONGEST_NAP_MS) distrustUntilMs = nowMs + DISTRUST_MS;
    lastMs = nowMs;
    return nowMs;
  };
  const arm = (): void => {
    cancel = clock.after(LOOK_EVERY_MS, () => {
      look();
      arm();
    });
  };
  arm();
  return {
    get stoodStill() {
      return look() < distrustUntilMs;
    },
    close: () => cancel(),
  };
}

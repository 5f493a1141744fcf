import type { Clock } from "../common/clock.ts";

/** Whether this caller may come now; counts the visit if so. */
export type RateLimit = (caller: string) => boolean;

/** How many callers are remembered. Beyond that all are forgotten, which lets a few too many in and keeps memory bounded. */
const CALLERS = 10_000;

/** At most `visits` per caller in each window of time. */
export function createRateLimit({
  clock,
  visits,
  windowMs,
}: {
  readonly clock: Clock;
  readonly visits: number;
  readonly windowMs: number;
}): RateLimit {
  const counts = new Map<string, number>();
  let windowEndMs = clock.monotonicMs() + windowMs;
  return (caller) => {
    if (clock.monotonicMs() >= windowEndMs || counts.size >= CALLERS) {
      counts.clear();
      windowEndMs = clock.monotonicMs() + windowMs;
    }
    const count = counts.get(caller) ?? 0;
    if (count >= visits) return false;
    counts.set(caller, count + 1);
    return true;
  };
}

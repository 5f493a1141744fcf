/** Growing waits between attempts, spread at random so that many clients do not come back at once. */
export interface BackOff {
  /** The wait before the next attempt. */
  nextMs(): number;
  /** An attempt succeeded: the next wait is short again. */
  reset(): void;
}

/** Waits double from `firstMs` to `longestMs`; each is between half and the whole of that. `random` gives 0 to 1. */
export function createBackOff({
  firstMs,
  longestMs,
  random,
}: {
  readonly firstMs: number;
  readonly longestMs: number;
  readonly random: () => number;
}): BackOff {
  let ceilingMs = firstMs;
  return {
    nextMs() {
      const waitMs = ceilingMs * (0.5 + random() / 2);
      ceilingMs = Math.min(ceilingMs * 2, longestMs);
      return waitMs;
    },
    reset() {
      ceilingMs = firstMs;
    },
  };
}

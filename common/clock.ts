/** Time as the code may see it; tests pass a fake. */
export interface Clock {
  /** Wall-clock time, for what people read and what other machines compare. Jumps when somebody sets the clock. */
  now(): Date;
  /** Milliseconds since boot, never going back: for deadlines, leases and timeouts. Comparable across processes of one boot. */
  monotonicMs(): number;
  /** Calls back once after `delayMs`. The returned function cancels and may be called twice. */
  after(delayMs: number, callback: () => void): () => void;
}

/** Longest delay of setTimeout; longer waits are cut into pieces. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The machine's clock. Its timers do not keep a process alive. */
export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => Number(process.hrtime.bigint() / 1000n) / 1000,
  after(delayMs, callback) {
    let timer: NodeJS.Timeout;
    const arm = (leftMs: number): void => {
      const nextMs = Math.min(Math.max(leftMs, 0), LONGEST_TIMER_MS);
      timer = setTimeout(() => (leftMs > nextMs ? arm(leftMs - nextMs) : callback()), nextMs);
      timer.unref();
    };
    arm(delayMs);
    return () => clearTimeout(timer);
  },
};

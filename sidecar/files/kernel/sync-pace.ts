/** A disk that needs longer than this for a sync is one that others would wait for. */
const QUICK_MS = 2;
/** After a slow one, the next that others may have to wait for comes this many times later: they lose at most a hundredth of their time. */
const PAUSE_TIMES = 100;

/** Tells whether syncs are quick enough to be done between two requests, where handing them to another thread and back costs more. */
export class SyncPace {
  #slowUntilMs = -Infinity;

  isQuick(nowMs: number): boolean {
    return nowMs >= this.#slowUntilMs;
  }

  /** A sync that was done between two requests. */
  note(startMs: number, endMs: number): void {
    const tookMs = endMs - startMs;
    if (tookMs > QUICK_MS) this.#slowUntilMs = endMs + tookMs * PAUSE_TIMES;
  }
}

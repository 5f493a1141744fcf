import { setTimeout as sleep } from "node:timers/promises";

export interface Patience {
  readonly timeoutMs: number;
  readonly everyMs?: number;
  /** What `look` throws is one more thing that was seen; otherwise it ends the wait. */
  readonly mayFail?: boolean;
  /** Says why there is nothing left to wait for. */
  readonly whyNever?: () => string | undefined;
}

/** True when it is so; otherwise false, or in words what is so instead. */
export type Sight = boolean | string;

/** Looks until it is so. Otherwise throws an Error that begins with `what` and ends with what was seen last. */
export async function waitUntil(
  what: string,
  look: () => Promise<Sight> | Sight,
  { timeoutMs, everyMs = 100, mayFail = false, whyNever }: Patience,
): Promise<void> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    let seen: Sight;
    let cause: unknown;
    try {
      seen = await look();
    } catch (error) {
      if (!mayFail) throw error;
      seen = String(error);
      cause = error;
    }
    if (seen === true) return;
    const why = whyNever?.() ?? (performance.now() > end ? `not within ${timeoutMs / 1000} s` : undefined);
    if (why !== undefined) throw new Error(`${what}: ${why}${seen === false ? "" : `. Seen last: ${seen}`}`, { cause });
    await sleep(everyMs);
  }
}

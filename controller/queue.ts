import type { Clock } from "../common/clock.ts";

export interface WorkQueueOptions {
  readonly clock: Clock;
  /** Visits a key. What it throws makes the queue visit the key again later, with growing waits. */
  readonly visit: (key: string) => Promise<void>;
  readonly onError: (key: string, error: unknown) => void;
  /** Keys visited at a time. */
  readonly workers: number;
}

const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 30_000;

/**
 * A queue of keys with the rules of controller-runtime's: a key waits once however often it is added, is never visited twice at a time, and
 * is visited again when it was added during its visit.
 */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #ready = new Set<string>();
  readonly #visiting = new Map<string, Promise<void>>();
  /** Keys to be added later: when, and how to forget it. */
  readonly #later = new Map<string, { readonly atMs: number; readonly cancel: () => void }>();
  readonly #failures = new Map<string, number>();
  #isOpen = true;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  add(key: string): void {
    if (!this.#isOpen) return;
    this.#ready.add(key);
    this.#next();
  }

  /** Adds the key after a while; of several times for one key the earliest counts. */
  addAfter(key: string, waitMs: number): void {
    if (!this.#isOpen) return;
    const { clock } = this.#options;
    const atMs = clock.monotonicMs() + waitMs;
    const planned = this.#later.get(key);
    if (planned && planned.atMs <= atMs) return;
    planned?.cancel();
    const cancel = clock.after(waitMs, () => {
      this.#later.delete(key);
      this.add(key);
    });
    this.#later.set(key, { atMs, cancel });
  }

  /** Keys that wait now or are being visited. */
  get depth(): number {
    return this.#ready.size + this.#visiting.size;
  }

  /** Forgets what waits; resolves once the visits under way have ended. */
  async close(): Promise<void> {
    this.#isOpen = false;
    this.#ready.clear();
    for (const { cancel } of this.#later.values()) cancel();
    this.#later.clear();
    await Promise.all(this.#visiting.values());
  }

  #next(): void {
    for (const key of this.#ready) {
      if (this.#visiting.size >= this.#options.workers) return;
      if (this.#visiting.has(key)) continue;
      this.#ready.delete(key);
      this.#visiting.set(key, this.#visit(key));
    }
  }

  async #visit(key: string): Promise<void> {
    try {
      await this.#options.visit(key);
      this.#failures.delete(key);
    } catch (error) {
      const failures = this.#failures.get(key) ?? 0;
      this.#failures.set(key, failures + 1);
      this.#options.onError(key, error);
      this.addAfter(key, Math.min(FIRST_WAIT_MS * 2 ** failures, LONGEST_WAIT_MS));
    } finally {
      this.#visiting.delete(key);
      if (this.#isOpen) this.#next();
    }
  }
}

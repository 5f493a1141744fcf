import type { Clock } from "../../common/clock.ts";

/** A clock that stands still until a test moves it. */
export class FakeClock implements Clock {
  #nowMs: number;
  #monotonicMs = 1_000;
  #timers: { readonly atMs: number; readonly callback: () => void }[] = [];

  constructor(start = "2026-01-01T00:00:00.000Z") {
    this.#nowMs = Date.parse(start);
  }

  now(): Date {
    return new Date(this.#nowMs);
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.#monotonicMs + Math.max(delayMs, 0), callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Timers that wait. */
  get waiting(): number {
    return this.#timers.length;
  }

  /** Lets time pass: timers fire in order, and what they set off is let run before the next one. */
  async advance(byMs: number): Promise<void> {
    await settle();
    const endMs = this.#monotonicMs + byMs;
    for (;;) {
      const next = this.#timers.toSorted((one, other) => one.atMs - other.atMs).at(0);
      if (next === undefined || next.atMs > endMs) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#moveTo(Math.max(next.atMs, this.#monotonicMs));
      next.callback();
      await settle();
    }
    this.#moveTo(endMs);
    await settle();
  }

  /** The process was frozen: time passed, and no timer fired yet. */
  freeze(byMs: number): void {
    this.#moveTo(this.#monotonicMs + byMs);
  }

  /** Somebody set the wall clock. */
  setWallClock(time: string): void {
    this.#nowMs = Date.parse(time);
  }

  #moveTo(monotonicMs: number): void {
    this.#nowMs += monotonicMs - this.#monotonicMs;
    this.#monotonicMs = monotonicMs;
  }
}

/** Lets everything run that waits for nothing but promises. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise(setImmediate);
}

import type { Verdict } from "../fault-layer.ts";
import type { NodeId } from "../file-operations.ts";
import type { Locked } from "./locks.ts";

/** A request that a latency holds back. */
export interface HeldRequest {
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  /** Its place among the requests in flight, or the request itself where there was none. */
  readonly kept: number | Buffer;
  /** Whether an earlier server had read it. */
  readonly isAgain: boolean;
  /** What the kernel keeps locked until it is answered; undefined for nothing. */
  readonly locked: Locked | undefined;
  /** Whether what it locks was left out when the kernel was to drop it. */
  readonly isLeftOut?: boolean;
  readonly verdict: Verdict;
  /** When its delay is over, as `performance.now()` counts. */
  readonly goesOnMs: number;
  /** When it is to be looked at: then, or earlier, when a fault that delays it is to end. */
  readonly dueMs: number;
}

/** Requests that wait, by when they are due. */
export class HeldRequests {
  #held: HeldRequest[] = [];

  get size(): number {
    return this.#held.length;
  }

  /** When the next one is due; Infinity for none. */
  get nextMs(): number {
    return this.#held[0]?.dueMs ?? Infinity;
  }

  locked(): readonly Locked[] {
    return this.#held.flatMap(({ locked }) => locked ?? []);
  }

  /** What they lock was left out; of this node's data alone, where there is one. */
  leaveOut(node?: NodeId): void {
    const isMeant = ({ locked }: HeldRequest): boolean => node === undefined || (locked?.are === "pages" && locked.node === node);
    this.#held = this.#held.map((held) => (isMeant(held) ? { ...held, isLeftOut: true } : held));
  }

  add(held: HeldRequest): void {
    const at = this.#held.findLastIndex(({ dueMs }) => dueMs <= held.dueMs);
    this.#held.splice(at + 1, 0, held);
  }

  takeDue(nowMs: number): readonly HeldRequest[] {
    const first = this.#held.findIndex(({ dueMs }) => dueMs > nowMs);
    return this.#held.splice(0, first < 0 ? this.#held.length : first);
  }

  /** Takes those out that need not wait any more. */
  takeWhere(isFree: (held: HeldRequest) => boolean): readonly HeldRequest[] {
    const free = this.#held.filter(isFree);
    if (free.length > 0) this.#held = this.#held.filter((held) => !free.includes(held));
    return free;
  }
}

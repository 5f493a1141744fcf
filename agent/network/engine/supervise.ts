import type { Clock } from "../../../common/clock.ts";
import type { Log } from "../../../common/log.ts";
import type { Counters, EngineTotals, Order } from "./messages.ts";
import type { EngineRules, FaultCounters } from "./rules.ts";
import type { EngineThread } from "./thread.ts";

/** A running engine. It costs a thread and some 12 MB: close it when no fault needs it. */
export interface NfqueueEngine {
  /**
   * Replaces all rules; resolves once they hold. Faults that stay (by id) keep their counters. Packets held already leave
   * when they were due, and later ones of the same class do not overtake them unless jitter or reordering lets them.
   * Rejects with what is wrong in the rules or with a queue; the old ones then stay.
   */
  setRules(rules: EngineRules): Promise<void>;
  /** By fault id, for the faults of the rules in force. */
  readCounters(): Promise<ReadonlyMap<string, FaultCounters>>;
  readTotals(): Promise<EngineTotals>;
  /**
   * Sends every held packet at once, in order, gives every queue up and forgets all rules and counters, so that it is as if just started. Take
   * the kernel's rules away first, as before close.
   */
  clear(): Promise<void>;
  /**
   * Sends every held packet at once, in order, and ends the thread. Take the kernel's rules away first: what reaches a
   * queue after that bypasses it. May be called twice.
   */
  close(): Promise<void>;
  /** Calls back once, with the reason, when the engine ends without being told to. Traffic then passes the queue unharmed. */
  onDeath(callback: (reason: Error) => void): void;
}

const PING_EVERY_MS = 2000;
/** Pings in a row without an answer. More than one, for a process that was stopped for long must not blame its thread. */
const LOST_PINGS = 3;
const CLOSE_TIMEOUT_MS = 5000;

/** Speaks with the thread and watches that it answers. */
export function superviseEngine({
  thread,
  log,
  clock,
}: {
  readonly thread: EngineThread;
  readonly log: Log;
  readonly clock: Clock;
}): NfqueueEngine {
  const waiting = new Map<number, PromiseWithResolvers<Counters | undefined>>();
  const listeners: ((reason: Error) => void)[] = [];
  const ended = Promise.withResolvers<void>();
  let number = 0;
  let dead: Error | undefined;
  let closing: Promise<void> | undefined;
  let isClosing = false;
  let unanswered = 0;
  let cancelPing = clock.after(PING_EVERY_MS, ping);

  function ask(order: Order): Promise<Counters | undefined> {
    if (dead !== undefined) return Promise.reject(dead);
    const pending = Promise.withResolvers<Counters | undefined>();
    waiting.set(++number, pending);
    thread.post({ number, order });
    return pending.promise;
  }

  function ping(): void {
    if (unanswered === LOST_PINGS) {
      die(new Error(`The network engine has not answered for ${(LOST_PINGS * PING_EVERY_MS) / 1000} s.`));
      return;
    }
    unanswered++;
    ask({ do: "ping" }).then(
      () => {
        unanswered = 0;
      },
      () => undefined, // die() rejected it and told everybody
    );
    cancelPing = clock.after(PING_EVERY_MS, ping);
  }

  /** Ends everything without the thread's help; says so only when nobody asked for the end. */
  function die(reason: Error): void {
    if (dead !== undefined) return;
    dead = reason;
    cancelPing();
    for (const pending of waiting.values()) pending.reject(reason);
    waiting.clear();
    thread.terminate();
    if (isClosing) return;
    log.error({ err: reason }, "network engine died");
    for (const listener of listeners) listener(reason);
  }

  thread.onReply((reply) => {
    const pending = waiting.get(reply.number);
    waiting.delete(reply.number);
    if (reply.is === "done") pending?.resolve(reply.counters);
    else pending?.reject(new RangeError(reply.message));
  });
  thread.onEnd((reason) => {
    die(reason);
    ended.resolve();
  });

  async function readAll(): Promise<Counters> {
    const counters = await ask({ do: "read-counters" });
    if (counters === undefined) throw new Error("The network engine answered without counters.");
    return counters;
  }

  async function close(): Promise<void> {
    if (dead !== undefined) return;
    isClosing = true;
    cancelPing();
    const cancel = clock.after(CLOSE_TIMEOUT_MS, () => die(new Error("The network engine did not close in time.")));
    try {
      const last = await ask({ do: "close" });
      await ended.promise;
      log.debug({ totals: last?.totals }, "network engine closed");
    } catch (error) {
      // it is gone either way, and its queue with it
      log.warn({ err: error }, "network engine ended without letting its packets go");
    } finally {
      cancel();
    }
  }

  return {
    async setRules(rules) {
      await ask({ do: "set-rules", rules });
    },
    async clear() {
      await ask({ do: "clear" });
    },
    readCounters: async () => new Map((await readAll()).faults),
    readTotals: async () => (await readAll()).totals,
    close: () => (closing ??= close()),
    onDeath(callback) {
      if (dead === undefined) listeners.push(callback);
      else if (closing === undefined) callback(dead);
    },
  };
}

import { closeSync, writeSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { type Clock, systemClock } from "../../../common/clock.ts";
import type { Log } from "../../../common/log.ts";
import type { Answer, Counters, EngineSettings, EngineTotals, Order } from "./messages.ts";
import { encodeUnbind } from "./netlink.ts";
import type { EngineRules, FaultCounters } from "./rules.ts";
import { workerUrl } from "./worker-url.ts";

/** A running engine. It costs a thread and some 8 MB: start it when a fault needs it, close it when none does. */
export interface NfqueueEngine {
  /**
   * Replaces all rules; resolves once they hold. Faults that stay (by id) keep their counters. Packets held already leave
   * when they were due, and later ones to the same destination do not overtake them unless jitter lets them.
   * Rejects with what is wrong in the rules; the old ones then stay.
   */
  setRules(rules: EngineRules): Promise<void>;
  /** By fault id, for the faults of the rules in force. */
  readCounters(): Promise<ReadonlyMap<string, FaultCounters>>;
  readTotals(): Promise<EngineTotals>;
  /**
   * Sends every held packet at once, in order, and ends the thread. Take the kernel's rule away first: what reaches the
   * queue after that bypasses it. May be called twice.
   */
  close(): Promise<void>;
  /** Calls back once, with the reason, when the engine ends without being told to. Traffic then passes the queue unharmed. */
  onDeath(callback: (reason: Error) => void): void;
}

export interface EngineOptions {
  /** Number of the NFQUEUE. */
  readonly queue: number;
  /** Bits on our own copies: the rule that fills the queue must leave out packets which have them. */
  readonly mark: { readonly value: number; readonly mask: number };
  readonly log: Log;
  /** Bound of the memory for held packets; beyond it packets pass undelayed and are counted as `overflow`. Default 32 MiB. */
  readonly maxHeldBytes?: number | undefined;
  readonly clock?: Clock | undefined;
}

const DEFAULT_HELD_BYTES = 32 * 1024 * 1024;
const PING_EVERY_MS = 2000;
/** Pings in a row without an answer. More than one, for a process that was stopped for long must not blame its thread. */
const LOST_PINGS = 3;
const CLOSE_TIMEOUT_MS = 5000;

/** Starts the thread; resolves once the queue is bound. Rejects with the reason: queue taken, capability missing. */
export async function startEngine({
  queue,
  mark,
  log,
  maxHeldBytes = DEFAULT_HELD_BYTES,
  clock = systemClock,
}: EngineOptions): Promise<NfqueueEngine> {
  const settings: EngineSettings = { queue, mark, maxHeldBytes };
  const worker = new Worker(workerUrl(import.meta.url), {
    workerData: settings,
    resourceLimits: { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 64 },
  });
  const ready = await firstAnswer(worker);
  log.debug({ queue, isPrioritised: ready.isPrioritised }, "network engine started");
  return superviseEngine({ worker, ready, queue, log, clock });
}

type Ready = Extract<Answer, { is: "ready" }>;

function firstAnswer(worker: Worker): Promise<Ready> {
  return new Promise((resolve, reject) => {
    worker.once("message", (answer: Answer) => {
      if (answer.is === "ready") resolve(answer);
      else reject(new Error("The engine's thread answered before it was ready."));
    });
    worker.once("error", reject);
    worker.once("exit", (code) => reject(new Error(`The engine's thread ended with ${code} before it was ready.`)));
  });
}

function superviseEngine({
  worker,
  ready,
  queue,
  log,
  clock,
}: {
  readonly worker: Worker;
  readonly ready: Ready;
  readonly queue: number;
  readonly log: Log;
  readonly clock: Clock;
}): NfqueueEngine {
  const waiting = new Map<number, PromiseWithResolvers<Counters | undefined>>();
  const listeners: ((reason: Error) => void)[] = [];
  const exited = Promise.withResolvers<void>();
  let number = 0;
  let dead: Error | undefined;
  let closing: Promise<void> | undefined;
  let unanswered = 0;
  let hasExited = false;
  let cancelPing = clock.after(PING_EVERY_MS, ping);

  const wake = Buffer.alloc(8);
  wake.writeBigUInt64LE(1n);

  function ask(order: Order): Promise<Counters | undefined> {
    if (dead !== undefined) return Promise.reject(dead);
    const request = { number: ++number, order };
    const pending = Promise.withResolvers<Counters | undefined>();
    waiting.set(request.number, pending);
    worker.postMessage(request);
    writeSync(ready.wakeFd, wake);
    return pending.promise;
  }

  function ping(): void {
    if (++unanswered > LOST_PINGS) {
      die(new Error(`The network engine has not answered for ${(LOST_PINGS * PING_EVERY_MS) / 1000} s.`));
      return;
    }
    ask({ do: "ping" }).then(
      () => {
        unanswered = 0;
      },
      () => undefined, // die() rejected it and told everybody
    );
    if (closing === undefined) cancelPing = clock.after(PING_EVERY_MS, ping);
  }

  /** Ends everything without the thread's help; says so only when nobody asked for the end. */
  function die(reason: Error): void {
    if (dead !== undefined) return;
    dead = reason;
    cancelPing();
    for (const pending of waiting.values()) pending.reject(reason);
    waiting.clear();
    // a thread that hangs reads no packets: from here on they bypass the queue
    if (!hasExited) writeSync(ready.queueFd, encodeUnbind(queue));
    void worker.terminate();
    if (closing !== undefined) return;
    log.error({ queue, err: reason }, "network engine died");
    for (const listener of listeners) listener(reason);
  }

  worker.on("message", (answer: Answer) => {
    if (answer.is === "ready") return;
    const pending = waiting.get(answer.number);
    waiting.delete(answer.number);
    if (answer.is === "done") pending?.resolve(answer.counters);
    else pending?.reject(new RangeError(answer.message));
  });
  worker.on("error", (error) => die(error));
  worker.on("exit", (code) => {
    hasExited = true;
    for (const fd of ready.allFds) closeSync(fd);
    exited.resolve();
    die(new Error(`The network engine's thread ended with ${code}.`));
  });

  async function readAll(): Promise<Counters> {
    const counters = await ask({ do: "read-counters" });
    if (counters === undefined) throw new Error("The network engine answered without counters.");
    return counters;
  }

  async function close(): Promise<void> {
    if (dead !== undefined) return;
    cancelPing();
    const timedOut = Promise.withResolvers<"late">();
    const cancel = clock.after(CLOSE_TIMEOUT_MS, () => timedOut.resolve("late"));
    try {
      const last = await Promise.race([ask({ do: "close" }), timedOut.promise]);
      if (last === "late") {
        log.warn({ queue }, "network engine did not close in time, its held packets are lost");
        die(new Error("The network engine did not close in time."));
      } else log.debug({ queue, totals: last?.totals }, "network engine closed");
      await exited.promise;
    } finally {
      cancel();
    }
  }

  return {
    async setRules(rules) {
      await ask({ do: "set-rules", rules });
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

import { type Clock, systemClock } from "../../../common/clock.ts";
import type { Log } from "../../../common/log.ts";
import { type NfqueueEngine, superviseEngine } from "./supervise.ts";
import { startThread } from "./thread.ts";

export interface EngineOptions {
  /** Bits on our own copies: the rules that fill queues must leave out packets which have them. */
  readonly mark: { readonly value: number; readonly mask: number };
  readonly log: Log;
  /** Bound of the memory for held packets; beyond it packets pass undelayed and are counted as `overflow`. Default 32 MiB. */
  readonly maxHeldBytes?: number | undefined;
  readonly clock?: Clock | undefined;
}

const DEFAULT_HELD_BYTES = 32 * 1024 * 1024;

/**
 * Starts the engine in a thread of its own, in this process's network namespace; resolves once it has its sockets. Rejects
 * with the reason: NET_RAW is missing, the kernel has no nfnetlink_queue.
 */
export async function startEngine({
  mark,
  log,
  maxHeldBytes = DEFAULT_HELD_BYTES,
  clock = systemClock,
}: EngineOptions): Promise<NfqueueEngine> {
  const thread = await startThread({ mark, maxHeldBytes });
  log.debug({ isPrioritised: thread.isPrioritised }, "network engine started");
  return superviseEngine({ thread, log, clock });
}

import { addressOf, type Libc } from "./libc.ts";
import { encodeChangedPacket, VERDICT_BYTES, type Verdict, writeVerdictFor, writeVerdictUpTo } from "./netlink.ts";

/** Answers the kernel. */
export interface VerdictWriter {
  /**
   * For packets of queues in which each is answered before the next is looked at: "all up to this id" then says the same as one verdict
   * for each, and a run of equal verdicts is one message.
   */
  addUpTo(queue: number, id: number, verdict: Verdict): void;
  addOne(queue: number, id: number, verdict: Verdict): void;
  /** Lets a packet go with these bytes. */
  addChanged(queue: number, id: number, packet: Buffer): void;
  /** Sends what was added. */
  flush(): void;
}

const MOST_MESSAGES = 64;

export function createVerdictWriter(libc: Libc, fd: number): VerdictWriter {
  const bytes = Buffer.alloc(MOST_MESSAGES * VERDICT_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const address = addressOf(bytes);
  let count = 0;
  /** What the last message says, while it may still be extended; -1 for one that may not. */
  let runQueue = -1;
  let runVerdict: Verdict | undefined;

  function flush(): void {
    if (count === 0) return;
    // an error would only say that the packets are gone already, with their device or their queue
    libc.send(fd, address, count * VERDICT_BYTES, 0);
    count = 0;
    runQueue = -1;
  }

  function next(): number {
    if (count === MOST_MESSAGES) flush();
    return count++ * VERDICT_BYTES;
  }

  return {
    flush,
    addUpTo(queue, id, verdict) {
      const goesOn = queue === runQueue && verdict === runVerdict && count > 0;
      const offset = goesOn ? (count - 1) * VERDICT_BYTES : next();
      runQueue = queue;
      runVerdict = verdict;
      writeVerdictUpTo(view, offset, queue, id, verdict);
    },
    addOne(queue, id, verdict) {
      writeVerdictFor(view, next(), queue, id, verdict);
      runQueue = -1;
    },
    addChanged(queue, id, packet) {
      flush();
      const message = encodeChangedPacket(queue, id, packet);
      libc.send(fd, message, message.length, 0);
    },
  };
}

import { addressOf, type Libc } from "./libc.ts";
import { VERDICT_BYTES, type Verdict, writeVerdictUpTo } from "./netlink.ts";

/** Answers the kernel in the order in which packets came. */
export interface VerdictWriter {
  add(id: number, verdict: Verdict): void;
  /** Sends what was added. */
  flush(): void;
}

const MOST_RUNS = 64;

/**
 * Since every packet is answered before the next is looked at, "all up to this id" says the same as one verdict for each,
 * and a whole batch of equal verdicts is one message.
 */
export function createVerdictWriter(libc: Libc, fd: number, queue: number): VerdictWriter {
  const bytes = Buffer.alloc(MOST_RUNS * VERDICT_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const address = addressOf(bytes);
  let runs = 0;
  let last: Verdict | undefined;

  function flush(): void {
    if (runs === 0) return;
    // an error would only say that the packets are gone already, with their device or their queue
    libc.send(fd, address, runs * VERDICT_BYTES, 0);
    runs = 0;
    last = undefined;
  }

  return {
    flush,
    add(id, verdict) {
      if (verdict !== last && runs === MOST_RUNS) flush();
      if (verdict !== last) runs++;
      last = verdict;
      writeVerdictUpTo(view, (runs - 1) * VERDICT_BYTES, queue, id, verdict);
    },
  };
}

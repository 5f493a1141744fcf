import { systemClock } from "../../../common/clock.ts";
import { createSkewer, openSkewerParts } from "../../../daemon/time/skewer.ts";
import type { TargetMemory } from "../../../daemon/time/target-process.ts";

/**
 * A skewer in a process of its own: PID START_TICKS DEED SIGNAL WRITES. It sends itself the signal in place of the write after so many, and says how
 * many writes it made where it lives to the end. `hold` skews for a second, says so, and sends itself the signal then.
 */
const [pid = "", startTicks = "", deed = "", signal = "", writes = ""] = process.argv.slice(2);
const parts = openSkewerParts();
let left = Number(writes);
let written = 0;

const counted = (memory: TargetMemory): TargetMemory => ({
  ...memory,
  write(offset, bytes) {
    if (left-- <= 0) process.kill(process.pid, signal);
    memory.write(offset, bytes);
    written++;
  },
});

const skewer = createSkewer({
  ...parts,
  open(identity) {
    const opened = parts.open(identity);
    return opened.is === "open" ? { is: "open", memory: counted(opened.memory) } : opened;
  },
});
const identity = { pid: Number(pid), startTicks };
const forMs = deed === "hold" ? 1_000 : 600_000;
const outcomes =
  deed === "undo"
    ? await skewer.undo([identity])
    : await skewer.apply([identity], { offsetsNs: new Map([[0, 3_600_000_000_000n]]), untilMs: systemClock.monotonicMs() + forMs });
process.stdout.write(`${JSON.stringify({ is: outcomes[0]?.is, written })}\n`);
if (deed === "hold") process.kill(process.pid, signal);

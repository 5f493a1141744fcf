import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { systemClock } from "../../common/clock.ts";
import { createSkewer, openSkewerParts, type ProcessOutcome, type Skewer } from "./skewer.ts";
import { readIdentity } from "./target-process.ts";

export type OpenedSkewer = { readonly missing: string } | { readonly missing: undefined; readonly skewer: Skewer };

/** Further off than any two reads of one clock can be, as no clock is set by so much. */
const PROBE_OFFSET_MS = 50 * 86_400_000;
const TOLERANCE_MS = 60_000;
const PROBE_TIMEOUT_MS = 10_000;
const ANSWER_THE_TIME = 'process.stdin.on("data", () => process.stdout.write(`${Date.now()}\\n`))';

/** A skewer that was tried out on a process of our own, or why clocks cannot be skewed on this node, in a sentence. */
export async function openSkewer(): Promise<OpenedSkewer> {
  try {
    const skewer = createSkewer(openSkewerParts());
    await tryOut(skewer);
    return { missing: undefined, skewer };
  } catch (error) {
    return { missing: error instanceof Error ? error.message : String(error) };
  }
}

/** Skews the clock of a throw-away process and takes it back, so that a kernel on which this goes wrong harms nobody else. */
async function tryOut(skewer: Skewer): Promise<void> {
  const child = spawn(process.execPath, ["--eval", ANSWER_THE_TIME], {
    stdio: ["pipe", "pipe", "ignore"],
    env: {},
    timeout: PROBE_TIMEOUT_MS,
  });
  try {
    await once(child, "spawn");
    const identity = child.pid === undefined ? undefined : readIdentity(child.pid);
    if (identity === undefined) throw new Error("The process on which skewing is tried out ended at once.");
    const offsetOf = askTheTime(child);
    await expectOffset(offsetOf, 0);
    const skew = { offsetsNs: new Map([[0, BigInt(PROBE_OFFSET_MS) * 1_000_000n]]), untilMs: systemClock.monotonicMs() + PROBE_TIMEOUT_MS };
    expectDone(await skewer.apply([identity], skew));
    await expectOffset(offsetOf, PROBE_OFFSET_MS);
    expectDone(await skewer.undo([identity]));
    await expectOffset(offsetOf, 0);
  } finally {
    child.kill("SIGKILL");
  }
}

function expectDone(outcomes: readonly ProcessOutcome[]): void {
  const reasons = outcomes.flatMap((outcome) => ("reason" in outcome ? [outcome.reason] : outcome.is === "gone" ? ["It ended."] : []));
  if (reasons.length > 0)
    throw new Error(`The vDSO of a process that was started to try it cannot be patched on this node: ${reasons.join(" ")}`);
}

async function expectOffset(offsetOf: () => Promise<number>, offsetMs: number): Promise<void> {
  const foundMs = await offsetOf();
  if (Math.abs(foundMs - offsetMs) > TOLERANCE_MS)
    throw new Error(
      `A process that was started to try it is off by ${foundMs} ms where ${offsetMs} ms were wanted: clocks of this node do not come from the vDSO.`,
    );
}

/** How far the child's clock is ahead of ours, in milliseconds, each time it is called. */
function askTheTime({ stdin, stdout }: ChildProcess): () => Promise<number> {
  if (stdin === null || stdout === null) throw new Error("A process without pipes cannot be asked.");
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]();
  return async () => {
    stdin.write("?\n");
    const { value, done } = await lines.next();
    if (done) throw new Error("The process on which skewing is tried out crashed.");
    return Number(value) - Date.now();
  };
}

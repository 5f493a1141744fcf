import { parentPort } from "node:worker_threads";
import { casesOf, runCase } from "./cases.ts";

/** Runs chunks of cases as it is asked to; `fuzz.ts` waits outside, for whoever hangs cannot say so. */

export interface ChunkDone {
  readonly chunk: number;
  /** How many cases came to which end. */
  readonly outcomes: Readonly<Record<string, number>>;
  readonly failures: readonly Failure[];
}

export interface Failure {
  readonly number: number;
  readonly kind: string;
  readonly message: string;
  readonly object: string;
}

/** Of processor time, which other programs do not change. */
const LONGEST_MS = 500;

async function run(chunk: number, seed: number): Promise<ChunkDone> {
  const outcomes: Record<string, number> = {};
  const failures: Failure[] = [];
  for (const one of casesOf(chunk, seed)) {
    try {
      const before = process.threadCpuUsage();
      const outcome = await runCase(one);
      const { user, system } = process.threadCpuUsage(before);
      const tookMs = (user + system) / 1000;
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      if (tookMs > LONGEST_MS) throw new Error(`It took ${tookMs.toFixed(0)} ms.`);
    } catch (error) {
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
      failures.push({
        number: one.number,
        kind: one.of.kind,
        message: message.slice(0, 2_000),
        object: JSON.stringify(one.object).slice(0, 4_000),
      });
    }
  }
  return { chunk, outcomes, failures };
}

async function answer({ chunk, seed }: { readonly chunk: number; readonly seed: number }): Promise<void> {
  parentPort?.postMessage(await run(chunk, seed));
}

parentPort?.on("message", (asked: Parameters<typeof answer>[0]) => void answer(asked));

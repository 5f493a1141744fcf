import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { CHUNK } from "./cases.ts";
import type { ChunkDone, Failure } from "./worker.ts";

export interface FuzzReport {
  readonly cases: number;
  readonly seed: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly failures: readonly Failure[];
}

/** A chunk takes about a second on a busy machine. */
const HANG_MS = 60_000;
const MOST_FAILURES = 10;

/** Runs at least so many cases, in as many threads as there are processors, and stops early after some failures. */
export async function fuzz({ cases, seed }: { readonly cases: number; readonly seed: number }): Promise<FuzzReport> {
  const chunks = Math.ceil(cases / CHUNK);
  const outcomes: Record<string, number> = {};
  const failures: Failure[] = [];
  let next = 0;
  const threads = Array.from({ length: Math.min(availableParallelism(), chunks) }, async () => {
    const worker = new Worker(new URL("worker.ts", import.meta.url));
    try {
      while (next < chunks && failures.length < MOST_FAILURES) {
        const done = await runChunk(worker, next++, seed);
        failures.push(...done.failures);
        for (const [outcome, count] of Object.entries(done.outcomes)) outcomes[outcome] = (outcomes[outcome] ?? 0) + count;
      }
    } finally {
      await worker.terminate();
    }
  });
  await Promise.all(threads);
  return {
    cases: Object.values(outcomes).reduce((sum, count) => sum + count, 0),
    seed,
    outcomes,
    failures: failures.toSorted((a, b) => a.number - b.number),
  };
}

function runChunk(worker: Worker, chunk: number, seed: number): Promise<ChunkDone> {
  const range = `cases ${chunk * CHUNK} to ${(chunk + 1) * CHUNK - 1} of seed ${seed}`;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => end(() => reject(new Error(`One of the ${range} hangs.`))), HANG_MS);
    const onDone = (done: ChunkDone): void => end(() => resolve(done));
    const onError = (cause: Error): void => end(() => reject(new Error(`One of the ${range} ended the thread.`, { cause })));
    const end = (settle: () => void): void => {
      clearTimeout(timer);
      worker.off("message", onDone);
      worker.off("error", onError);
      settle();
    };
    worker.on("message", onDone);
    worker.on("error", onError);
    worker.postMessage({ chunk, seed });
  });
}

export function describeReport({ cases, seed, outcomes, failures }: FuzzReport): string {
  const ends = Object.entries(outcomes)
    .toSorted(([, a], [, b]) => b - a)
    .map(([outcome, count]) => `${outcome} ${((100 * count) / Math.max(1, cases)).toFixed(1)} %`);
  const lines = failures.map(({ number, kind, message, object }) => `case ${number}, ${kind}: ${message}\n  ${object}`);
  return [`${cases} cases of seed ${seed}: ${ends.join(", ")}; ${failures.length} failed`, ...lines].join("\n");
}

import { rename, writeFile } from "node:fs/promises";
import type { CompiledClass } from "../agent/network/explain.ts";
import type { PodExplanation } from "../api/pod-explanation.ts";
import type { Log } from "../common/log.ts";
import { sidecarPaths } from "../common/sidecar-layout.ts";

/** What is on disk for `sidecar.mjs explain`, a process of its own: everything but the counters. */
export type Explanation = Omit<PodExplanation, "classes"> & { readonly classes: readonly CompiledClass[] };

/** What a visit to the kernel tells of it. */
export type VisitExplanation = Omit<Explanation, "volumes">;

/** Writes what is known; the newest wins, and a reader never sees half of it. */
export function createExplanationFile(log: Log): (explanation: Explanation) => void {
  let last: Promise<void> = Promise.resolve();
  return (explanation) => {
    const text = JSON.stringify(explanation);
    last = last
      .then(() => writeFile(`${sidecarPaths.explained}.new`, text))
      .then(() => rename(`${sidecarPaths.explained}.new`, sidecarPaths.explained))
      .catch((error: unknown) => log.warn({ err: error }, "what is in force could not be written down"));
  };
}

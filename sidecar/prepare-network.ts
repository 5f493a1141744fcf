import { join } from "node:path";
import { type Journal, openJournal } from "../agent/journal.ts";
import { recoverLeftovers } from "../agent/leftovers.ts";
import { type PodFacts, readPodFacts } from "../agent/network/facts.ts";
import { sweepNetwork } from "../agent/network/sweep.ts";
import { findPrograms, type Programs } from "../agent/programs.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { ports } from "../common/names.ts";
import { sidecarPaths } from "../common/sidecar-layout.ts";
import { VERSION } from "../common/version.ts";
import type { SidecarConfig } from "./config.ts";

export interface PreparedNetwork {
  readonly programs: Programs;
  readonly facts: PodFacts;
  readonly journal: Journal;
}

const TRY_AGAIN_MS = 10_000;

/**
 * Finds out what the pod's network allows and removes what an earlier life left there. Rejects where that cannot be done, and the kubelet starts the
 * sidecar anew; one that serves volumes tries again by itself, for as long as it takes or until the signal aborts: without it the application's
 * file operations would wait.
 */
export async function prepareNetwork(
  config: SidecarConfig,
  { clock, log, signal }: { readonly clock: Clock; readonly log: Log; readonly signal: AbortSignal },
): Promise<PreparedNetwork> {
  for (;;) {
    try {
      return await prepare(config, log);
    } catch (error) {
      if (config.volumes.length === 0) throw error;
      log.error({ err: error }, "the sidecar cannot fault the network; it serves its volumes and tries again");
    }
    await new Promise<void>((resolve) => {
      const cancel = clock.after(TRY_AGAIN_MS, resolve);
      signal.addEventListener("abort", () => (cancel(), resolve()), { once: true });
    });
    signal.throwIfAborted();
  }
}

async function prepare({ hostIps, podIps, probePorts }: SidecarConfig, log: Log): Promise<PreparedNetwork> {
  const programs = findPrograms();
  const facts = await readPodFacts(programs, { hostIps, podIps, probePorts, agentPort: ports.sidecar });
  log.info({ ...facts, version: VERSION }, "sidecar starts");
  const journal = await openJournal(join(sidecarPaths.state, "journal"));
  await recoverLeftovers({ journal, programs, sweep: () => sweepNetwork(programs), log });
  return { programs, facts, journal };
}

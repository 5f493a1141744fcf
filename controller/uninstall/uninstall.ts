import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import type { Kube } from "../../kube/kube.ts";
import { wait } from "../../kube/wait.ts";
import { releaseAll } from "./holds.ts";
import type { Leaving } from "./notice.ts";
import { countExperimentsLeft, removeTraces } from "./traces.ts";

export interface UninstallDeps {
  readonly kube: Kube;
  readonly clock: Clock;
  readonly log: Log;
}

const LOOK_EVERY_MS = 500;
const RETRY_MS = 1_000;
/** Experiments are let go at the end of their time; what that takes. */
const LETTING_GO_MS = 5_000;

/** Waits until no experiment waits for us any more, or until the time is over. */
export async function waitForExperiments({ kube, clock, log }: UninstallDeps, { byMs }: Leaving, signal: AbortSignal): Promise<void> {
  for (;;) {
    const left = await countExperimentsLeft(kube, signal).catch((error: unknown) => {
      if (!signal.aborted) log.warn({ err: error }, "experiments could not be counted");
      return undefined;
    });
    if (left === 0 || signal.aborted) return;
    if (clock.monotonicMs() >= byMs + LETTING_GO_MS) {
      log.error(
        { experiments: left },
        "experiments are left behind: their faults end with their leases, their finalizers have to be removed by hand",
      );
      return;
    }
    await wait(clock, LOOK_EVERY_MS, signal);
  }
}

/** Removes what we made and then lets go of what we needed for it. Resolves once nothing is left, or when the leadership is over. */
export async function uninstall({ kube, clock, log }: UninstallDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted)
    try {
      await removeTraces(kube, signal);
      await releaseAll(kube, signal);
      log.info({}, "Squall is uninstalled");
      return;
    } catch (error) {
      if (signal.aborted) return;
      log.warn({ err: error }, "uninstalling failed and is tried again");
      await wait(clock, RETRY_MS, signal);
    }
}

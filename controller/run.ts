import { randomUUID } from "node:crypto";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { SYSTEM_NAMESPACE } from "../common/names.ts";
import type { Kube } from "../kube/kube.ts";
import { createBackOff } from "../kube/back-off.ts";
import { LeaderElector, type Leadership } from "../kube/lease.ts";
import { wait } from "../kube/wait.ts";
import type { ControllerConfig } from "./config.ts";
import { serveHealth } from "../common/health-server.ts";
import { lead } from "./leading.ts";
import { createMetrics } from "./metrics.ts";
import { findRival } from "./rival.ts";
import { OWN_NAME } from "./uninstall/notice.ts";
import { World } from "./world.ts";

export interface Controller {
  /** Gives the leadership back and stops. Faults in force go on under their leases. */
  close(): Promise<void>;
}

const RIVAL_EVERY_MS = 30_000;
/** Bookmarks come about once a minute. */
const LONGEST_SILENCE_MS = 5 * 60_000;

/** Starts a replica: it watches, answers health checks, and leads when it is its turn. */
export async function runController(
  config: ControllerConfig,
  { kube, clock, log }: { readonly kube: Kube; readonly clock: Clock; readonly log: Log },
): Promise<Controller> {
  const world = new World({ kube, clock, log });
  const elector = new LeaderElector({
    kube,
    clock,
    log,
    ref: { namespace: SYSTEM_NAMESPACE, name: OWN_NAME },
    identity: `${config.podName}_${randomUUID()}`,
    // The Lease goes when Squall is uninstalled.
    mayCreate: () => world.uninstall.leaving === undefined,
  });
  const isLeading = (): boolean => elector.leadership !== undefined;
  const metrics = createMetrics(world, isLeading);
  const ending = new AbortController();
  let rival: string | undefined = "not looked for rivals yet";
  const health = await serveHealth({
    port: config.metricsPort,
    registry: metrics.registry,
    whyNotReady: () => rival ?? (world.isSynced ? undefined : "the caches are not filled yet"),
    whyNotAlive: () => ((world.silentMs ?? 0) < LONGEST_SILENCE_MS ? undefined : "the API server has been silent for too long"),
  });
  world.start();

  let leading: Promise<void> = Promise.resolve();
  elector.onChange((leadership) => {
    if (!leadership) return;
    leading = leading.then(() => keepLeading(leadership));
  });
  const starting = start();
  return {
    async close() {
      ending.abort(new Error("The controller ends."));
      await starting;
      await elector.close();
      await leading;
      await world.close();
      await health.close();
    },
  };

  /** A leader that cannot lead tries again: whoever took over from it might fare no better. */
  async function keepLeading(leadership: Leadership): Promise<void> {
    const backOff = createBackOff({ firstMs: 500, longestMs: 30_000, random: Math.random });
    while (!leadership.signal.aborted) {
      try {
        const end = await lead(leadership, { config, kube, world, clock, log, metrics, isLeading });
        // Nothing is left to do, and nobody left who would do it: the pod is about to go.
        if (end === "uninstalled") return await world.close();
      } catch (error) {
        if (leadership.signal.aborted) return;
        log.error({ err: error }, "leading failed and is tried again");
        await wait(clock, backOff.nextMs(), leadership.signal);
      }
    }
  }

  /** Nothing is reconciled beside a Chaos Mesh controller. */
  async function start(): Promise<void> {
    while (!ending.signal.aborted) {
      const found = await findRival(kube, ending.signal).catch(
        (error: unknown) => `looking for rivals failed: ${error instanceof Error ? error.message : String(error)}`,
      );
      if (found !== rival && found !== undefined) log.error({ why: found }, "not starting");
      rival = found;
      if (rival === undefined) {
        await Promise.race([world.synced(), wait(clock, LONGEST_SILENCE_MS, ending.signal)]);
        if (!ending.signal.aborted && world.isSynced) elector.start();
        return;
      }
      await wait(clock, RIVAL_EVERY_MS, ending.signal);
    }
  }
}

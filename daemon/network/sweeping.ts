import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { SIDECAR_CONTAINER } from "../../common/names.ts";
import type { ContainerRuntime } from "../runtime/container-runtime.ts";
import type { NetworkFaults } from "./network-faults.ts";
import { SharedNetworkError } from "./open-network.ts";
import type { PodNetworks } from "./pod-networks.ts";

export interface SweepingOptions {
  readonly runtime: Pick<ContainerRuntime, "find" | "listWithout">;
  readonly networks: Pick<PodNetworks, "sweep">;
  readonly faults: Pick<NetworkFaults, "isFaulting" | "recover">;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Sweeping {
  close(): Promise<void>;
}

const LOOK_EVERY_MS = 30_000;

/**
 * Looks every 30 s for what nobody else will take back: journals whose pods could not be reached, and rules in pods whose sidecar has ended and was
 * not there again at the next look. Those pods are swept once each time their sidecar stays away. One whose sidecar runs is never touched: it is
 * asked for right before.
 */
export function startSweeping({ runtime, networks, faults, clock, log }: SweepingOptions): Sweeping {
  /** Pods without their sidecar at the last look. */
  let missing: ReadonlySet<string> = new Set();
  const swept = new Set<string>();
  let cancel = (): void => undefined;
  let looking: Promise<void> = Promise.resolve();
  let isClosed = false;

  async function sweep(podUid: string, target: string): Promise<void> {
    const isGone = async (): Promise<boolean> => (await runtime.find({ podUid, container: SIDECAR_CONTAINER })) === undefined;
    try {
      if (await networks.sweep(podUid, isGone)) log.info({ target }, "the network of a pod whose sidecar is gone was swept");
    } catch (error) {
      if (!(error instanceof SharedNetworkError)) throw error; // no sidecar of ours did anything there
    }
    swept.add(podUid);
  }

  async function look(): Promise<void> {
    await faults.recover();
    const found = await runtime.listWithout(SIDECAR_CONTAINER);
    const now = new Set(found.map(({ podUid }) => podUid));
    const before = missing;
    missing = now;
    for (const podUid of swept) if (!now.has(podUid)) swept.delete(podUid);
    for (const { podUid, namespace, pod } of found) {
      const isDue = before.has(podUid) && !swept.has(podUid) && !faults.isFaulting(podUid) && !isClosed;
      if (!isDue) continue;
      const target = `${namespace}/${pod}`;
      await sweep(podUid, target).catch((error: unknown) =>
        log.warn({ err: error, target }, "a pod could not be swept; it is tried again"),
      );
    }
  }

  function arm(): void {
    cancel = clock.after(LOOK_EVERY_MS, () => {
      looking = look()
        .catch((error: unknown) => log.warn({ err: error }, "pods without their sidecar could not be looked for"))
        .finally(() => {
          if (!isClosed) arm();
        });
    });
  }

  arm();
  return {
    async close() {
      isClosed = true;
      cancel();
      await looking;
    },
  };
}

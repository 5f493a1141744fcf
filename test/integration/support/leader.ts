import { systemClock } from "../../../common/clock.ts";
import { silentLog } from "../../../common/log.ts";
import { startExperiments } from "../../../controller/experiments.ts";
import { World } from "../../../controller/world.ts";
import type { KubeConnection } from "../../../kube/client.ts";
import type { FakeAgents } from "../../support/fake-agent.ts";

/** The part of a controller that carries experiments out, in this process. */
export interface Leader {
  /** It does nothing more from this moment on. */
  end(): void;
  /** Ends it, its connection too. */
  close(): Promise<void>;
}

export async function startLeader({
  kube,
  agents,
  epoch = 1,
  randomBelow = () => 0,
  countUnconfirmed = () => undefined,
}: {
  readonly kube: KubeConnection;
  readonly agents: FakeAgents;
  readonly epoch?: number;
  readonly randomBelow?: (bound: number) => number;
  readonly countUnconfirmed?: (targets: number) => void;
}): Promise<Leader> {
  const world = new World({ kube, clock: systemClock, log: silentLog });
  world.start();
  await world.synced();
  const leading = new AbortController();
  const experiments = startExperiments({
    leadership: { epoch, signal: leading.signal },
    kube,
    world,
    dial: agents.dial,
    clock: systemClock,
    log: silentLog,
    workers: 4,
    pauseImage: "squall:0.1.0",
    randomBelow,
    isLeading: () => !leading.signal.aborted,
    metrics: { startVisit: () => () => undefined, countUnconfirmed },
  });
  const end = (): void => leading.abort(new Error("the leader is gone"));
  return {
    end,
    async close() {
      end();
      await kube.close();
      await Promise.all([experiments.close(), world.close()]);
    },
  };
}

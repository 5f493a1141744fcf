import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { createAccessReviews } from "../kube/access.ts";
import type { Kube } from "../kube/kube.ts";
import type { Leadership } from "../kube/lease.ts";
import type { DesiredFaults, Passport } from "../proto/gen/agent.ts";
import { Dispatcher } from "./agents/dispatcher.ts";
import type { Dial } from "./agents/link.ts";
import { createContainerKill } from "./agents/container-kill.ts";
import { Passports } from "./agents/passports.ts";
import { Ledger } from "./ledger.ts";
import { Memories } from "./memory.ts";
import { startSweep } from "./pod-failure/sweep.ts";
import { primeAgents } from "./prime.ts";
import { WorkQueue } from "./queue.ts";
import { reconcile } from "./reconcile.ts";
import { createRecorder } from "./recorder.ts";
import type { World } from "./world.ts";

export interface ExperimentsOptions {
  readonly leadership: Leadership;
  readonly kube: Kube;
  /** Synced already. */
  readonly world: World;
  readonly dial: Dial;
  readonly clock: Clock;
  readonly log: Log;
  /** Experiments visited at a time. */
  readonly workers: number;
  /** What pod-failure puts in the place of images. */
  readonly pauseImage: string;
  /** Whole numbers from 0 up to the bound, the bound excluded; not to be guessed. */
  readonly randomBelow: (bound: number) => number;
  /** Asks the clock whether the leadership still holds: a frozen process wakes up without knowing. */
  readonly isLeading: () => boolean;
  readonly metrics: { startVisit(): () => void; countUnconfirmed(targets: number): void };
}

/** The experiments of one leadership, being looked after. */
export interface Experiments {
  /** What an agent is to carry now, the sidecar of the pod of this UID or the daemon of node/NAME; undefined while that is not known. */
  desiredFor(agent: string): DesiredFaults | undefined;
  /** An agent said what its surroundings allow. */
  learnPassport(agent: string, passport: Passport): void;
  /** Stops visiting and sending. Faults in force go on under their leases. */
  close(): Promise<void>;
}

/** Takes over what is on record, then visits each experiment whenever something that concerns it changes. */
export function startExperiments(options: ExperimentsOptions): Experiments {
  const { leadership, kube, world, dial, clock, log, metrics, isLeading } = options;
  const { epoch, signal } = leadership;
  const memories = new Memories();
  const ledger = new Ledger({
    onRoom: (waiting) => {
      for (const key of waiting) queue.add(key);
    },
  });
  const passports = new Passports();
  const learnPassport = (agent: string, passport: Passport): void => {
    passports.learn(agent, passport);
    // pods come and go: those that went are looked for when there are twice as many passports as pods
    if (passports.size > 2 * world.podCount + 64) passports.keepOnly((known) => world.locate(known) !== "gone");
  };
  const recorder = createRecorder({ kube, clock, log, signal });
  const mustLead = (): void => {
    if (signal.aborted || !isLeading()) throw new Error("This process does not lead any more.");
  };
  const agents = new Dispatcher({
    leaderEpoch: epoch,
    dial,
    locate: (agent) => world.locate(agent),
    clock,
    log,
    signal,
    mustLead,
    onPassport: learnPassport,
    onChange: ({ key }, withinMs) => {
      if (key === "") return;
      if (withinMs === 0) queue.add(key);
      else queue.addAfter(key, withinMs);
    },
  });
  const deps = {
    kube,
    world,
    agents,
    passports,
    memories,
    ledger,
    access: createAccessReviews({ kube, clock }),
    clock,
    recorder,
    pauseImage: options.pauseImage,
    killContainer: createContainerKill({ epoch, dial, locate: (agent) => world.locate(agent), signal, mustLead }),
    signal,
    randomBelow: options.randomBelow,
    countUnconfirmed: (targets: number) => metrics.countUnconfirmed(targets),
    mustLead,
  };
  const queue = new WorkQueue({
    clock,
    workers: options.workers,
    async visit(key) {
      const end = metrics.startVisit();
      try {
        const { nextMs } = await reconcile(key, deps);
        if (nextMs !== undefined) queue.addAfter(key, nextMs);
      } finally {
        end();
      }
    },
    onError: (key, error) => {
      if (!signal.aborted) log.warn({ experiment: key, err: error }, "a visit failed and is repeated");
    },
  });
  const keys = world.experiments().map(({ key }) => key);
  primeAgents(keys, { world, agents, passports, memories, ledger, clock, log });
  agents.open();
  const off = world.onChange(({ text }) => queue.add(text));
  for (const { text } of keys) queue.add(text);
  const sweep = startSweep({ kube, world, clock, log, signal, mustLead });
  log.info({ epoch, experiments: keys.length }, "experiments taken over");
  return {
    desiredFor: (agent) => agents.desiredFor(agent),
    learnPassport,
    async close() {
      off();
      await sweep.close();
      await queue.close();
      await agents.close();
      await recorder.idle();
    },
  };
}

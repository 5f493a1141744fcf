import { packetMark } from "../../common/names.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import type { Receipt } from "../../proto/gen/agent.ts";
import type { FaultFamily } from "../family.ts";
import type { Programs } from "../programs.ts";
import { planClock } from "./clock.ts";
import type { EngineOptions } from "./engine/engine.ts";
import type { NfqueueEngine } from "./engine/supervise.ts";
import type { EngineRules, FaultCounters } from "./engine/rules.ts";
import type { PodFacts } from "./facts.ts";
import { QUEUE } from "./names.ts";
import { planNetwork } from "./plan.ts";
import { createRunningCounters, parseRuleCounters, type RunningCounters } from "./rule-counters.ts";
import { sweepNetwork } from "./sweep.ts";

export interface NetworkFamilyOptions {
  readonly facts: PodFacts;
  readonly programs: Programs;
  readonly log: Log;
  readonly clock: Clock;
  readonly startEngine: (options: EngineOptions) => Promise<NfqueueEngine>;
}

/** Network faults of the network namespace that this process is in. */
export function createNetworkFamily({ facts, programs, log, clock, startEngine }: NetworkFamilyOptions): FaultFamily {
  let engine: NfqueueEngine | undefined;
  let onDeath: (reason: Error) => void = () => undefined;
  const counters = createRunningCounters(() => clock.now().getTime());

  async function readRules(): Promise<void> {
    const { stdout } = await programs.run({ argv: [`iptables-${facts.iptables}-save`, "-c"] });
    counters.read(parseRuleCounters(stdout));
  }

  async function closeEngine(): Promise<void> {
    const closing = engine;
    engine = undefined;
    await closing?.close();
  }

  async function startOne(): Promise<NfqueueEngine> {
    const started = await startEngine({ queue: QUEUE, mark: packetMark, log, clock });
    engine = started;
    started.onDeath((reason) => {
      if (engine !== started) return;
      engine = undefined;
      onDeath(reason);
    });
    return started;
  }

  return {
    name: "network",
    plan: (faults) => planNetwork(faults, facts),
    planClock,
    async runEngine(rules) {
      if (rules === undefined) {
        await closeEngine();
        return;
      }
      const running = engine ?? (await startOne());
      // Engine steps are made by planNetwork alone; they travel through the executor, which knows nothing of engines.
      await running.setRules(rules as EngineRules);
    },
    onEngineDeath(callback) {
      onDeath = callback;
    },
    async readReceipts(faultIds) {
      await readRules();
      const shaped = (await engine?.readCounters()) ?? new Map<string, FaultCounters>();
      counters.keepOnly(faultIds);
      return new Map(faultIds.map((id) => [id, receiptOf(counters.of(id), shaped.get(id))]));
    },
    sweep: () => sweepNetwork(programs),
    close: closeEngine,
  };
}

type Counted = ReturnType<RunningCounters["of"]>;

function receiptOf(rules: Counted, shaped: FaultCounters | undefined): Receipt {
  const starts = [rules.firstMs, shaped?.firstMs ?? 0].filter((ms) => ms > 0);
  return {
    matched: rules.dropped + (shaped?.matched ?? 0),
    dropped: rules.dropped + (shaped?.dropped ?? 0),
    delayed: shaped?.delayed ?? 0,
    exempted: rules.exempted,
    firstMs: starts.length === 0 ? 0 : Math.min(...starts),
    lastMs: Math.max(rules.lastMs, shaped?.lastMs ?? 0),
  };
}

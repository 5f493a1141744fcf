import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { packetMark } from "../../common/names.ts";
import type { Fault, Receipt } from "../../proto/gen/agent.ts";
import type { FaultFamily } from "../family.ts";
import type { Programs } from "../programs.ts";
import { planClock } from "./clock.ts";
import type { OnAnswer } from "./dns-watch.ts";
import type { EngineOptions } from "./engine/engine.ts";
import { createEngineKeeper, type EngineRest } from "./engine/keeper.ts";
import { type EngineRules, type FaultCounters, newFaultCounters } from "./engine/rules.ts";
import type { NfqueueEngine } from "./engine/supervise.ts";
import { explainNetwork } from "./explain.ts";
import { passportOf, type PodFacts } from "./facts.ts";
import { followHostNames, type Lookup } from "./host-names.ts";
import { planNetwork, sortRules } from "./plan.ts";
import { createRunningCounters, parseRuleCounters, type RunningCounters } from "./rule-counters.ts";
import { sweepNetwork } from "./sweep.ts";
import { parseTreeDrops } from "./tree-counters.ts";
import { faultsOfHandles } from "./tree.ts";

export interface NetworkFamilyOptions {
  readonly facts: PodFacts;
  readonly programs: Programs;
  readonly log: Log;
  readonly clock: Clock;
  readonly startEngine: (options: EngineOptions) => Promise<NfqueueEngine>;
  readonly engineRest?: EngineRest | undefined;
  /** Resolves host names as the pod does. */
  readonly lookup: Lookup;
  /** Reads along the DNS answers that the pod receives; the function that it returns ends it. */
  readonly watchDns: (onAnswer: OnAnswer, log: Log) => () => void;
}

/** Closing an engine gives back a third of what it took, and the next one takes 30 ms to start. */
const ENGINE_REST: EngineRest = { unusedMs: 5_000, usedMs: 60_000 };

/** Network faults of the network namespace that this process is in. */
export function createNetworkFamily({
  facts,
  programs,
  log,
  clock,
  startEngine,
  engineRest = ENGINE_REST,
  lookup,
  watchDns,
}: NetworkFamilyOptions): FaultFamily {
  let stopWatching: (() => void) | undefined;
  /** Faults of the queueing disciplines that were planned last, by handle. */
  let faultOfHandle: ReadonlyMap<string, string> = new Map();
  const engine = createEngineKeeper({
    start: () => startEngine({ mark: packetMark, log, clock }),
    clock,
    log,
    rest: engineRest,
  });
  const hostNames = followHostNames({ clock, log, lookup });
  const counters = createRunningCounters(() => clock.now().getTime());

  async function readRules(): Promise<void> {
    const saves = facts.families.map((family) => `${family === "ipv4" ? "iptables" : "ip6tables"}-${facts.iptables}-save` as const);
    const texts = await Promise.all(saves.map(async (name) => (await programs.run({ argv: [name, "-c"] })).stdout));
    counters.read(parseRuleCounters(texts.join("\n")));
  }

  /** By fault id. */
  async function readTree(): Promise<ReadonlyMap<string, number>> {
    if (faultOfHandle.size === 0) return new Map();
    const { stdout } = await programs.run({ argv: ["tc", "-s", "-j", "qdisc", "show"] });
    const byFault = new Map<string, number>();
    for (const [handle, drops] of parseTreeDrops(stdout)) {
      const faultId = faultOfHandle.get(handle);
      if (faultId !== undefined) byFault.set(faultId, (byFault.get(faultId) ?? 0) + drops);
    }
    return byFault;
  }

  function watchAnswers(isWanted: boolean): void {
    if (!isWanted) {
      stopWatching?.();
      stopWatching = undefined;
      return;
    }
    try {
      stopWatching ??= watchDns((name, addresses, ttlSeconds) => hostNames.learn(name, addresses, ttlSeconds), log);
    } catch (error) {
      // they are still asked for again when their time is over
      log.warn({ err: error }, "DNS answers cannot be followed");
      stopWatching = () => undefined;
    }
  }

  return {
    name: "network",
    passport: passportOf(facts),
    plan(faults) {
      faultOfHandle = faultsOfHandles(sortRules(faults, facts, hostNames.resolved).netem);
      return planNetwork(faults, facts, hostNames.resolved);
    },
    planClock: (faults) => planClock(faults, facts.families),
    async prepare(faults) {
      const names = [...new Set(faults.flatMap(hostNamesOf))];
      watchAnswers(names.length > 0);
      await hostNames.follow(names);
    },
    onChange: (callback) => hostNames.onChange(callback),
    resolvedOf: (fault) =>
      [...new Set(hostNamesOf(fault))].map((name) => ({ name, addresses: [...(hostNames.resolved.get(name.toLowerCase()) ?? [])] })),
    explain: (faults) => explainNetwork(faults, facts, hostNames.resolved),
    warmUpEngine: () => engine.warmUp(),
    // Engine steps are made by planNetwork alone; they travel through the executor, which knows nothing of engines.
    runEngine: (rules) => engine.setRules(rules as EngineRules | undefined),
    onEngineDeath: (callback) => engine.onDeath(callback),
    async readReceipts(faultIds) {
      const [tree] = await Promise.all([readTree(), readRules()]);
      const shaped = await engine.readCounters();
      counters.keepOnly(faultIds);
      return new Map(faultIds.map((id) => [id, receiptOf(counters.of(id), shaped.get(id) ?? newFaultCounters(), tree.get(id) ?? 0)]));
    },
    sweep: () => sweepNetwork(programs),
    async close() {
      hostNames.close();
      stopWatching?.();
      await engine.close();
    },
  };
}

const hostNamesOf = ({ family }: Fault): readonly string[] =>
  family?.$case === "network"
    ? family.value.rules.flatMap(({ peers, except }) => [...(peers?.hostNames ?? []), ...(except?.hostNames ?? [])].map(({ name }) => name))
    : [];

/** What rules dropped and classified, what the engine did, and what queueing disciplines lost. */
function receiptOf(rules: ReturnType<RunningCounters["of"]>, shaped: FaultCounters, lostInTree: number): Receipt {
  const starts = [rules.firstMs, shaped.firstMs].filter((ms) => ms > 0);
  return {
    matched: rules.dropped + rules.classified + shaped.matched,
    dropped: rules.dropped + shaped.dropped + lostInTree,
    delayed: shaped.delayed + Math.max(0, rules.classified - lostInTree),
    exempted: rules.exempted,
    duplicated: shaped.duplicated,
    corrupted: shaped.corrupted,
    reordered: shaped.reordered,
    firstMs: starts.length === 0 ? 0 : Math.min(...starts),
    lastMs: Math.max(rules.lastMs, shaped.lastMs),
    processes: 0,
    oomKills: 0,
    failed: 0,
    falsified: 0,
    methods: [],
  };
}

import { chains, probesOf, shortId, VERSION_PREFIX } from "./names.ts";

/** Packets that rules of ours counted, read from `iptables-save -c`. */
export interface RuleCounters {
  /** Which rules these counters are of; empty without any. */
  readonly version: string;
  /** By shortId of the fault. */
  readonly dropped: ReadonlyMap<string, number>;
  /** Put into a class of a device's queueing disciplines, by shortId of the fault. */
  readonly classified: ReadonlyMap<string, number>;
  /** Let through by our exemptions, in all chains of ours. */
  readonly exempted: number;
}

const LINE = /^\[(\d+):\d+\] -A (\S+) (.*)$/;
const ours: readonly string[] = Object.values(chains).flatMap((name) => [name, probesOf(name)]);

export function parseRuleCounters(saved: string): RuleCounters {
  const dropped = new Map<string, number>();
  const classified = new Map<string, number>();
  const add = (to: Map<string, number>, fault: string | undefined, packets: string): void => {
    if (fault !== undefined) to.set(fault, (to.get(fault) ?? 0) + Number(packets));
  };
  let exempted = 0;
  let version = "";
  for (const line of saved.split("\n")) {
    const [, packets = "0", chain = "", rule = ""] = LINE.exec(line) ?? [];
    if (!ours.includes(chain)) continue;
    version = new RegExp(`--comment "?(${VERSION_PREFIX}[0-9a-f]{12})`).exec(rule)?.[1] ?? version;
    if (rule.endsWith("-j RETURN") && !rule.includes("--mark")) exempted += Number(packets);
    // A rule that names several faults is of a combination; each of them has one of its own, which counts those packets, too.
    const fault = /--comment "?squall-([0-9a-f]{12})"?(?!\+)/.exec(rule)?.[1];
    if (rule.endsWith("-j DROP")) add(dropped, fault, packets);
    if (rule.includes("-j CLASSIFY")) add(classified, fault, packets);
  }
  return { version, dropped, classified, exempted };
}

interface Tally {
  before: number;
  current: number;
}

/** Counts that go on although the kernel's start from zero whenever rules are replaced. */
export interface RunningCounters {
  /** Takes a reading of the rules in force. */
  read(counters: RuleCounters): void;
  /** Totals of one fault since it was first asked for; times are those of the readings. */
  of(faultId: string): {
    readonly dropped: number;
    readonly classified: number;
    readonly exempted: number;
    readonly firstMs: number;
    readonly lastMs: number;
  };
  /** Forgets every fault but these. */
  keepOnly(faultIds: readonly string[]): void;
}

export function createRunningCounters(now: () => number): RunningCounters {
  let version = "";
  const exempted: Tally = { before: 0, current: 0 };
  const counts = { dropped: new Map<string, Tally>(), classified: new Map<string, Tally>() };
  const times = new Map<string, { firstMs: number; lastMs: number }>();
  /** Exemptions are counted for the pod as a whole, so each fault remembers where it began. */
  const exemptedAtStart = new Map<string, number>();

  function update(tally: Tally, packets: number, isReplaced: boolean): boolean {
    // A count that shrank says the same as a new version: rules were taken away and put back.
    if (isReplaced || packets < tally.current) {
      tally.before += tally.current;
      tally.current = 0;
    }
    const hasGrown = packets > tally.current;
    tally.current = packets;
    return hasGrown;
  }

  const totalOf = (tally: Tally | undefined): number => (tally?.before ?? 0) + (tally?.current ?? 0);

  return {
    read(counters) {
      const isReplaced = counters.version !== version;
      version = counters.version;
      update(exempted, counters.exempted, isReplaced);
      for (const what of ["dropped", "classified"] as const) {
        const tallies = counts[what];
        for (const id of counters[what].keys()) if (!tallies.has(id)) tallies.set(id, { before: 0, current: 0 });
        for (const [id, tally] of tallies) {
          if (!update(tally, counters[what].get(id) ?? 0, isReplaced)) continue;
          const lastMs = now();
          times.set(id, { firstMs: times.get(id)?.firstMs ?? lastMs, lastMs });
        }
      }
    },
    of(faultId) {
      const total = totalOf(exempted);
      const start = exemptedAtStart.get(faultId) ?? total;
      exemptedAtStart.set(faultId, start);
      const id = shortId(faultId);
      return {
        dropped: totalOf(counts.dropped.get(id)),
        classified: totalOf(counts.classified.get(id)),
        exempted: total - start,
        firstMs: times.get(id)?.firstMs ?? 0,
        lastMs: times.get(id)?.lastMs ?? 0,
      };
    },
    keepOnly(faultIds) {
      const kept = new Set(faultIds.map(shortId));
      for (const known of [counts.dropped, counts.classified, times]) for (const id of known.keys()) if (!kept.has(id)) known.delete(id);
      for (const id of exemptedAtStart.keys()) if (!faultIds.includes(id)) exemptedAtStart.delete(id);
    },
  };
}

import { chains, shortId, VERSION_PREFIX } from "./names.ts";

/** Packets that rules of ours counted, read from `iptables-save -c`. */
export interface RuleCounters {
  /** Which rules these counters are of; empty without any. */
  readonly version: string;
  /** By shortId of the fault. */
  readonly dropped: ReadonlyMap<string, number>;
  /** Let through by our exemptions, in all chains of ours. */
  readonly exempted: number;
}

const LINE = /^\[(\d+):\d+\] -A (\S+) (.*)$/;
const ours: readonly string[] = Object.values(chains);

export function parseRuleCounters(saved: string): RuleCounters {
  const dropped = new Map<string, number>();
  let exempted = 0;
  let version = "";
  for (const line of saved.split("\n")) {
    const [, packets = "0", chain = "", rule = ""] = LINE.exec(line) ?? [];
    if (!ours.includes(chain)) continue;
    version = new RegExp(`--comment "?(${VERSION_PREFIX}[0-9a-f]{12})`).exec(rule)?.[1] ?? version;
    if (rule.endsWith("-j RETURN") && !rule.includes("--mark")) exempted += Number(packets);
    const fault = rule.endsWith("-j DROP") ? /--comment "?squall-([0-9a-f]{12})"?/.exec(rule)?.[1] : undefined;
    if (fault !== undefined) dropped.set(fault, (dropped.get(fault) ?? 0) + Number(packets));
  }
  return { version, dropped, exempted };
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
  of(faultId: string): { readonly dropped: number; readonly exempted: number; readonly firstMs: number; readonly lastMs: number };
  /** Forgets every fault but these. */
  keepOnly(faultIds: readonly string[]): void;
}

export function createRunningCounters(now: () => number): RunningCounters {
  let version = "";
  const exempted: Tally = { before: 0, current: 0 };
  const drops = new Map<string, Tally & { firstMs: number; lastMs: number }>();
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

  return {
    read(counters) {
      const isReplaced = counters.version !== version;
      version = counters.version;
      update(exempted, counters.exempted, isReplaced);
      for (const id of counters.dropped.keys()) if (!drops.has(id)) drops.set(id, { before: 0, current: 0, firstMs: 0, lastMs: 0 });
      for (const [id, tally] of drops) {
        if (!update(tally, counters.dropped.get(id) ?? 0, isReplaced)) continue;
        tally.lastMs = now();
        tally.firstMs ||= tally.lastMs;
      }
    },
    of(faultId) {
      const total = exempted.before + exempted.current;
      const start = exemptedAtStart.get(faultId) ?? total;
      exemptedAtStart.set(faultId, start);
      const drop = drops.get(shortId(faultId));
      return {
        dropped: (drop?.before ?? 0) + (drop?.current ?? 0),
        exempted: total - start,
        firstMs: drop?.firstMs ?? 0,
        lastMs: drop?.lastMs ?? 0,
      };
    },
    keepOnly(faultIds) {
      const kept = new Set(faultIds.map(shortId));
      for (const id of drops.keys()) if (!kept.has(id)) drops.delete(id);
      for (const id of exemptedAtStart.keys()) if (!faultIds.includes(id)) exemptedAtStart.delete(id);
    },
  };
}

import type { TokenBucket } from "../../../proto/gen/faults.ts";

/** All that the engine carries out at once. */
export interface EngineRules {
  readonly rules: readonly EngineRule[];
  readonly classes: readonly EngineClass[];
}

/** What happens to the packets of one rule of a fault. Shares are between 0 and 1, and so are correlations. */
export interface EngineRule {
  readonly key: string;
  readonly faultId: string;
  readonly shape: EngineShape;
}

export interface EngineShape {
  readonly latencyUs: number;
  /** The latency of a packet varies evenly by this much to either side; packets may overtake one another. */
  readonly jitterUs: number;
  readonly latencyCorrelation: number;
  readonly reorder: { readonly share: number; readonly correlation: number; readonly gap: number } | undefined;
  readonly loss: Chance;
  readonly duplicate: Chance;
  readonly corrupt: Chance;
  /** 0: no limit. */
  readonly rateBitsPerSecond: number;
  /** Packets that may wait for the rate; what comes beyond is lost. */
  readonly queueLimitPackets: number;
  readonly bandwidth: TokenBucket | undefined;
}

export interface Chance {
  readonly share: number;
  readonly correlation: number;
}

/** Packets that the same rules match: the kernel sorts them by its own rules and puts each class into a queue of its own. */
export interface EngineClass {
  readonly queue: number;
  /** Leaving packets are taken out and sent again; arriving ones are held in the kernel. */
  readonly at: "egress" | "ingress";
  /** Keys of rules, in the order in which a packet passes them. */
  readonly rules: readonly string[];
}

/** What one fault did since it was first named to `setRules`. Wall-clock times in milliseconds since 1970, 0 for never. */
export interface FaultCounters {
  readonly matched: number;
  readonly dropped: number;
  readonly delayed: number;
  readonly duplicated: number;
  readonly corrupted: number;
  readonly reordered: number;
  readonly firstMs: number;
  readonly lastMs: number;
}

export type MutableCounters = { -readonly [K in keyof FaultCounters]: FaultCounters[K] };

export const newFaultCounters = (): MutableCounters => ({
  matched: 0,
  dropped: 0,
  delayed: 0,
  duplicated: 0,
  corrupted: 0,
  reordered: 0,
  firstMs: 0,
  lastMs: 0,
});

/** One rule at work. Every class that has the rule shares this state, so that a rate is one rate for all of them. */
export interface RuleState {
  readonly shape: EngineShape;
  readonly counters: MutableCounters;
  /** The last draw of each correlated chance, between 0 and 1. */
  readonly last: { delay: number; reorder: number; loss: number; duplicate: number; corrupt: number };
  sinceReorder: number;
  /** When the last packet under the rate, or out of the bucket, is due. */
  lastDueMs: number;
  readonly bucket: { bytes: number; peakBytes: number; atMs: number };
}

export interface ClassState {
  readonly queue: number;
  readonly at: EngineClass["at"];
  readonly rules: readonly RuleState[];
  /** Whether packets keep their order: nothing of it is drawn by chance. */
  readonly isOrdered: boolean;
  /** Whether packets beyond the memory must be lost: to let them pass would break a rate. */
  readonly isLimited: boolean;
  /** When the last packet is due; one under newer rules must not overtake it. */
  lastDueMs: number;
}

export interface CompiledRules {
  readonly classes: ReadonlyMap<number, ClassState>;
  /** By fault id, in the order of the rules. */
  readonly counters: ReadonlyMap<string, FaultCounters>;
  readonly rules: ReadonlyMap<string, RuleState>;
}

/**
 * Prepares rules. Faults that `before` already had keep their counters, unchanged rules their state, and classes the order of their
 * packets. Throws RangeError for a number outside its range and for a class with a rule that is not there.
 */
export function compileRules({ rules, classes }: EngineRules, before?: CompiledRules): CompiledRules {
  const counters = new Map<string, MutableCounters>();
  const states = new Map<string, RuleState>();
  for (const { key, faultId, shape } of rules) {
    requireRanges(faultId, shape);
    const own = counters.get(faultId) ?? { ...newFaultCounters(), ...before?.counters.get(faultId) };
    counters.set(faultId, own);
    const old = before?.rules.get(key);
    states.set(key, {
      shape,
      counters: own,
      last: old?.last ?? { delay: 0.5, reorder: 0.5, loss: 0.5, duplicate: 0.5, corrupt: 0.5 },
      sinceReorder: old?.sinceReorder ?? 0,
      lastDueMs: old?.lastDueMs ?? 0,
      bucket: old?.bucket ?? { bytes: shape.bandwidth?.bufferBytes ?? 0, peakBytes: shape.bandwidth?.minBurstBytes ?? 0, atMs: 0 },
    });
  }
  const compiled = classes.map(({ queue, at, rules: keys }): readonly [number, ClassState] => {
    const own = keys.map((key) => {
      const state = states.get(key);
      if (state === undefined) throw new RangeError(`The class of queue ${queue} has the rule ${key}, which is not there.`);
      return state;
    });
    const isOrdered = own.every(({ shape }) => shape.jitterUs === 0 && shape.reorder === undefined);
    const isLimited = own.some(({ shape }) => shape.rateBitsPerSecond > 0 || shape.bandwidth !== undefined);
    return [queue, { queue, at, rules: own, isOrdered, isLimited, lastDueMs: before?.classes.get(queue)?.lastDueMs ?? 0 }];
  });
  return { classes: new Map(compiled), counters, rules: states };
}

function requireRanges(faultId: string, shape: EngineShape): void {
  const chances = [shape.loss, shape.duplicate, shape.corrupt, ...(shape.reorder ? [shape.reorder] : [])];
  const shares = [shape.latencyCorrelation, ...chances.flatMap(({ share, correlation }) => [share, correlation])];
  const amounts = [
    shape.latencyUs,
    shape.jitterUs,
    shape.rateBitsPerSecond,
    shape.queueLimitPackets,
    shape.reorder?.gap ?? 0,
    ...Object.values(shape.bandwidth ?? {}),
  ];
  const wrong =
    shares.find((share) => !(share >= 0 && share <= 1)) ?? amounts.find((amount) => !(amount >= 0 && amount < Number.POSITIVE_INFINITY));
  if (wrong !== undefined) throw new RangeError(`Fault ${faultId}: ${wrong} is out of range.`);
}

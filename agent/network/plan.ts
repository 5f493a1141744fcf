import type { Fault } from "../../proto/gen/agent.ts";
import type { Shape } from "../../proto/gen/faults.ts";
import type { Plan, Refusal, Step } from "../plan.ts";
import { planChains } from "./chains.ts";
import { type PacketClass, sortIntoClasses } from "./classes.ts";
import type { EngineRules, EngineShape } from "./engine/rules.ts";
import type { PodFacts } from "./facts.ts";
import { queuesOf } from "./names.ts";
import type { Parsed, ResolvedNames } from "./parse.ts";
import { type CheckedRule, checkFault, refuse, type ShapedRule } from "./rule.ts";
import { planSets } from "./sets.ts";
import { classIdsOf, planTree, queueLimitPackets } from "./tree.ts";

/**
 * Plans all network faults of a pod, combined: sets first, then queueing disciplines and the engine, then for each family of addresses our
 * chains with the jumps into them, so no fault has an effect before all that it needs is in place: each is of one table. docs/network-combinations.md has the rules of
 * combination. `resolved` has the host names of the faults.
 */
export function planNetwork(faults: readonly Fault[], facts: PodFacts, resolved: ResolvedNames = new Map()): Plan {
  const { rules, refused, netem, nfqueue } = sortRules(faults, facts, resolved);
  if (rules.length === 0) return { steps: [], refused };
  const ids = classIdsOf(netem);
  const queues = queuesOf(nfqueue.map(({ key }) => key));
  const packetRules = {
    drops: rules.filter(({ shape }) => shape === undefined),
    classified: netem.map((packetClass) => [packetClass, ids.get(packetClass.key) ?? ""] as const),
    queued: nfqueue.map((packetClass) => [packetClass, queues.get(packetClass.key) ?? 0] as const),
  };
  const engine: readonly Step[] = nfqueue.length === 0 ? [] : [{ do: "engine", id: "engine", rules: planEngine(nfqueue, queues) }];
  const chains = facts.families.flatMap((family) => planChains(packetRules, family, facts));
  return { steps: [planSets(rules, facts.families), ...planTree(netem, facts), ...engine, ...chains], refused };
}

interface SortedRules {
  /** In the order of their keys. */
  readonly rules: readonly CheckedRule[];
  readonly netem: readonly PacketClass[];
  readonly nfqueue: readonly PacketClass[];
  readonly refused: readonly Refusal[];
}

/** Checks all faults and sorts what can be carried out by how. A fault is carried out as a whole or not at all. */
export function sortRules(faults: readonly Fault[], facts: PodFacts, resolved: ResolvedNames): SortedRules {
  const refused: Refusal[] = [];
  const rules: CheckedRule[] = [];
  for (const fault of faults.toSorted((a, b) => (a.id < b.id ? -1 : 1))) {
    const checked = checkDevices(checkFault(fault, resolved), facts);
    if (checked.ok) rules.push(...checked.value);
    else refused.push({ faultId: fault.id, reason: checked.reason, message: checked.message, isTransient: checked.isTransient === true });
  }
  const shaped = rules.filter((rule): rule is ShapedRule => rule.shape !== undefined);
  const sorted = sortIntoClasses(shaped, facts);
  if (sorted.refused.length === 0) return { rules, netem: sorted.netem, nfqueue: sorted.nfqueue, refused };
  // what is refused may have stood in the way of others
  const isRefused = new Set(sorted.refused.map(({ faultId }) => faultId));
  const rest = sortRules(
    faults.filter(({ id }) => !isRefused.has(id)),
    facts,
    resolved,
  );
  return { ...rest, refused: [...rest.refused, ...sorted.refused] };
}

function checkDevices(checked: Parsed<readonly CheckedRule[]>, { devices }: PodFacts): Parsed<readonly CheckedRule[]> {
  const missing = checked.ok ? checked.value.find(({ device }) => device !== "" && !devices.includes(device)) : undefined;
  if (missing === undefined) return checked;
  return refuse("NoSuchDevice", `This pod has no network device ${missing.device}. It has ${devices.join(", ") || "none"}.`);
}

function planEngine(classes: readonly PacketClass[], queues: ReadonlyMap<string, number>): EngineRules {
  const rules = new Map(classes.flatMap((packetClass) => packetClass.rules.map((rule) => [rule.key, rule] as const)));
  return {
    rules: [...rules.values()].map(({ key, faultId, shape }) => ({ key, faultId, shape: engineShape(shape) })),
    classes: classes.map(({ key, at, rules: own }) => ({ queue: queues.get(key) ?? 0, at, rules: own.map((rule) => rule.key) })),
  };
}

function engineShape(shape: Shape): EngineShape {
  const chance = (percent: number, correlation: number): EngineShape["loss"] => ({ share: percent / 100, correlation: correlation / 100 });
  const { reorder } = shape;
  return {
    latencyUs: shape.latencyUs,
    jitterUs: shape.jitterUs,
    latencyCorrelation: shape.latencyCorrelation / 100,
    reorder: reorder && reorder.percent > 0 ? { ...chance(reorder.percent, reorder.correlation), gap: reorder.gap } : undefined,
    loss: chance(shape.lossPercent, shape.lossCorrelation),
    duplicate: chance(shape.duplicatePercent, shape.duplicateCorrelation),
    corrupt: chance(shape.corruptPercent, shape.corruptCorrelation),
    rateBitsPerSecond: shape.rateBitsPerSecond,
    queueLimitPackets: queueLimitPackets(shape),
    bandwidth: shape.bandwidth,
  };
}

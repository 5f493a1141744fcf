import type { PodFacts } from "./facts.ts";
import { mayOverlap } from "./parse.ts";
import type { CheckedRule, ShapedRule } from "./rule.ts";
import type { Refusal } from "../plan.ts";

/** Packets that exactly these rules match, and by what they are shaped. */
export interface PacketClass {
  readonly key: string;
  readonly at: "egress" | "ingress";
  /** In the order of their keys: the order in which a packet passes them. */
  readonly rules: readonly ShapedRule[];
}

export interface Classes {
  readonly netem: readonly PacketClass[];
  readonly nfqueue: readonly PacketClass[];
  readonly refused: readonly Refusal[];
}

/** Rules that overlap in all ways make 2^n classes; the kernel would try each of them on each packet. */
const MOST_CLASSES = 64;

/**
 * Sorts shaping rules into classes: one for each combination of rules that some packet could match. Which engine shapes is decided by rule:
 *
 * | rule                                              | asked for none | for netem | for nfqueue |
 * | ------------------------------------------------- | -------------- | --------- | ----------- |
 * | netem is missing, or a foreign qdisc on a device  | nfqueue        | refused   | nfqueue     |
 * | nfqueue is missing                                | netem          | netem     | refused     |
 * | arriving packets                                  | nfqueue        | refused   | nfqueue     |
 * | duplicate beside other rules                      | nfqueue        | refused   | nfqueue     |
 * | rate or bandwidth that overlaps another rule      | nfqueue        | refused   | nfqueue     |
 * | anything else                                     | netem          | netem     | nfqueue     |
 *
 * Packets of rules of both engines pass both. Duplicating netems cannot share a tree with others, and each class of a tree would have a rate
 * of its own. What arrives cannot be duplicated: it is held by the kernel, which gives it once.
 */
export function sortIntoClasses(rules: readonly ShapedRule[], facts: PodFacts): Classes {
  const refused = new Map<string, Refusal>();
  const chosen = new Map<string, "netem" | "nfqueue">();
  for (const rule of rules) {
    const choice = chooseEngine(rule, rules, facts);
    if (typeof choice === "string") chosen.set(rule.key, choice);
    else refused.set(rule.faultId, { faultId: rule.faultId, ...choice });
  }
  const classesOf = (engine: "netem" | "nfqueue"): readonly PacketClass[] => {
    const own = rules.filter(({ key }) => chosen.get(key) === engine);
    return (["egress", "ingress"] as const).flatMap((at) =>
      combine(
        own.filter((rule) => rule.at === at),
        at,
        refused,
      ),
    );
  };
  const found = { netem: classesOf("netem"), nfqueue: classesOf("nfqueue") };
  const isKept = ({ rules: own }: PacketClass): boolean => own.every(({ faultId }) => !refused.has(faultId));
  return { netem: found.netem.filter(isKept), nfqueue: found.nfqueue.filter(isKept), refused: [...refused.values()] };
}

type Choice = "netem" | "nfqueue" | Omit<Refusal, "faultId">;

function chooseEngine(rule: ShapedRule, all: readonly ShapedRule[], facts: PodFacts): Choice {
  if (rule.at === "ingress" && rule.shape.duplicatePercent > 0)
    return { reason: "CannotDuplicate", message: "Packets that arrive cannot be duplicated. Put the fault on the pods that send them." };
  const noNetem = whyNoNetem(rule, all, facts);
  if (rule.wants !== "nfqueue" && noNetem === undefined) return "netem";
  if (rule.wants === "netem") return { reason: "NotWithNetem", message: `${noNetem ?? ""} Leave the engine out, or write nfqueue.` };
  if (facts.noNfqueue === undefined) return "nfqueue";
  return {
    reason: "NoEngine",
    message: `Packets cannot be shaped by NFQUEUE here: ${facts.noNfqueue}${noNetem === undefined ? "" : ` ${noNetem}`}`,
  };
}

function whyNoNetem(rule: ShapedRule, all: readonly ShapedRule[], facts: PodFacts): string | undefined {
  if (facts.noNetem !== undefined) return `netem cannot be used here: ${facts.noNetem}`;
  if (rule.at === "ingress") return "netem shapes packets that leave, not those that arrive.";
  const foreign = facts.foreignQdiscs.filter((device) => rule.device === "" || rule.device === device);
  if (foreign.length > 0)
    return `Another tool shapes the device ${foreign.join(", ")} of this pod, and its queueing discipline is not replaced.`;
  const others = all.filter(({ key, at }) => key !== rule.key && at === "egress");
  if (rule.shape.duplicatePercent > 0 && (others.length > 0 || (rule.device === "" && facts.devices.length > 1)))
    return "A netem that duplicates cannot share a device with others.";
  const limits = ({ shape }: ShapedRule): boolean => shape.rateBitsPerSecond > 0 || shape.bandwidth !== undefined;
  if (others.some((other) => (limits(rule) || limits(other)) && canMeet(rule, other)))
    return "With netem, a rate cannot be combined with another fault on the same packets.";
  return undefined;
}

/** Whether some packet could match both rules. */
function canMeet(one: CheckedRule, other: CheckedRule): boolean {
  const agree = (a: string, b: string): boolean => a === "" || b === "" || a === b;
  return agree(one.device, other.device) && agree(one.protocol, other.protocol) && mayOverlap(one.peers, other.peers);
}

function combine(rules: readonly ShapedRule[], at: PacketClass["at"], refused: Map<string, Refusal>): readonly PacketClass[] {
  let classes: readonly (readonly ShapedRule[])[] = [];
  for (const rule of rules) {
    const met = new Map(rules.map((other) => [other.key, canMeet(rule, other)]));
    const added = [[rule], ...classes.filter((own) => own.every(({ key }) => met.get(key) === true)).map((own) => [...own, rule])];
    if (classes.length + added.length > MOST_CLASSES) {
      const message = `Together with the other faults of this pod it makes more than ${MOST_CLASSES} combinations. End some of them, or narrow them down.`;
      refused.set(rule.faultId, { faultId: rule.faultId, reason: "TooManyCombinations", message });
    } else classes = [...classes, ...added];
  }
  return classes
    .map((own) => ({ key: `${at} ${own.map(({ key, shape }) => `${key} ${JSON.stringify(shape)}`).join(" + ")}`, at, rules: own }))
    .toSorted((a, b) => a.rules.length - b.rules.length || (a.key < b.key ? -1 : 1));
}

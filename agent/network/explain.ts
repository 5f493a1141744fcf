import type { ExplainedClass } from "../../api/pod-explanation.ts";
import type { Fault } from "../../proto/gen/agent.ts";
import type { Shape } from "../../proto/gen/faults.ts";
import type { PodFacts } from "./facts.ts";
import { chains, queuesOf, shortId } from "./names.ts";
import type { PeerMatch, ResolvedNames } from "./parse.ts";
import { sortRules } from "./plan.ts";
import type { CheckedRule } from "./rule.ts";
import { classIdsOf, queueLimitPackets } from "./tree.ts";

/** A class with the words by which its rule is found in the output of iptables-save. */
export type CompiledClass = Omit<ExplainedClass, "packets"> & { readonly rule: string };

/** What a plan for these faults compiles to, in words. */
export function explainNetwork(faults: readonly Fault[], facts: PodFacts, resolved: ResolvedNames): readonly CompiledClass[] {
  const { rules, netem, nfqueue } = sortRules(faults, facts, resolved);
  const nameOf = new Map(faults.map(({ id, experiment }) => [id, experiment]));
  const ids = classIdsOf(netem);
  const queues = queuesOf(nfqueue.map(({ key }) => key));
  const describe = (own: readonly CheckedRule[], by: string, rule: string): CompiledClass => ({
    way: own[0]?.at === "ingress" ? "arriving" : "leaving",
    by,
    experiments: own.map(({ faultId }) => nameOf.get(faultId) ?? faultId),
    matches: own.map(describeMatch).join(" and "),
    effect: own.map(({ shape }) => (shape ? describeShape(shape) : "dropped")).join(", then "),
    rule,
  });
  return [
    ...rules
      .filter(({ shape }) => shape === undefined)
      .map((own) => {
        const chain = own.at === "egress" ? chains.output : chains.input;
        return describe([own], `chain ${chain}`, `-A ${chain} .*squall-${shortId(own.faultId)}"? -j DROP`);
      }),
    ...netem.map(({ key, rules: own }) => {
      const id = ids.get(key) ?? "";
      return describe(own, `qdisc below class ${id}`, `-A ${chains.classes} .*--set-class [0-9a-f]*0?${id.replace(/^0+/, "")}$`);
    }),
    ...nfqueue.map(({ key, rules: own }) => {
      const queue = queues.get(key) ?? 0;
      return describe(own, `NFQUEUE ${queue}`, `--queue-num ${queue} `);
    }),
  ];
}

/** Packets that each class took, from the output of iptables-save with counters. */
export function countPackets(classes: readonly CompiledClass[], saved: string): readonly ExplainedClass[] {
  const lines = saved.split("\n");
  return classes.map(({ rule, ...explained }) => {
    const pattern = new RegExp(rule);
    const counts = lines.filter((line) => pattern.test(line)).map((line) => Number(/^\[(\d+):/.exec(line)?.[1] ?? 0));
    return { ...explained, packets: counts.reduce((sum, count) => sum + count, 0) };
  });
}

function describeMatch({ peers, except, device, protocol, localPorts, peerPorts }: CheckedRule): string {
  const parts = [
    ...(peers ? [countEntries(peers)] : ["everything"]),
    ...(except ? [`but ${countEntries(except)}`] : []),
    ...(protocol === "" ? [] : [protocol]),
    ...(localPorts.length > 0 ? [`own port ${localPorts.join(", ")}`] : []),
    ...(peerPorts.length > 0 ? [`other port ${peerPorts.join(", ")}`] : []),
    ...(device === "" ? [] : [`on ${device}`]),
  ];
  return parts.join(" ");
}

const SHOWN = 4;

function countEntries({ ipv4, ipv6 }: PeerMatch): string {
  const all = [...ipv4.networks, ...ipv4.endpoints, ...ipv6.networks, ...ipv6.endpoints];
  return all.length === 0 ? "nobody" : `${all.slice(0, SHOWN).join(" ")}${all.length > SHOWN ? ` and ${all.length - SHOWN} more` : ""}`;
}

function describeShape(shape: Shape): string {
  const ms = (us: number): string => `${us / 1000} ms`;
  const { bandwidth } = shape;
  return [
    ...(shape.latencyUs > 0 ? [`late by ${ms(shape.latencyUs)}${shape.jitterUs > 0 ? ` ± ${ms(shape.jitterUs)}` : ""}`] : []),
    ...(shape.reorder ? [`${shape.reorder.percent} % sent at once`] : []),
    ...(shape.lossPercent > 0 ? [`${shape.lossPercent} % lost`] : []),
    ...(shape.duplicatePercent > 0 ? [`${shape.duplicatePercent} % doubled`] : []),
    ...(shape.corruptPercent > 0 ? [`${shape.corruptPercent} % corrupted`] : []),
    ...(shape.rateBitsPerSecond > 0 ? [`at ${shape.rateBitsPerSecond / 1e6} Mbit/s`] : []),
    ...(bandwidth
      ? [`at ${bandwidth.rateBitsPerSecond / 1e6} Mbit/s, ${bandwidth.limitBytes} bytes may wait`]
      : [`at most ${queueLimitPackets(shape)} packets wait`]),
  ].join(", ");
}

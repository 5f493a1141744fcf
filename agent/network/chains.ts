import { packetMark, SIDECAR_GID } from "../../common/names.ts";
import type { Command, Step } from "../plan.ts";
import type { PacketClass } from "./classes.ts";
import type { PodFacts } from "./facts.ts";
import type { Family } from "./families.ts";
import { chains, gate, gateOf, probesOf, shortId, VERSION_PREFIX } from "./names.ts";
import type { CheckedRule } from "./rule.ts";
import { matchOf } from "./sets.ts";

/** Everything that rules of iptables do in a plan. */
export interface PacketRules {
  readonly drops: readonly CheckedRule[];
  /** Classes of what leaves, for the queueing disciplines of a device, with their ids. */
  readonly classified: readonly (readonly [PacketClass, id: string])[];
  /** Classes for the engine, with their queues. */
  readonly queued: readonly (readonly [PacketClass, queue: number])[];
}

const MARK = `0x${packetMark.value.toString(16)}/0x${packetMark.mask.toString(16)}`;
/** Neighbour discovery: without it, not even exempt packets find their way. It is ARP's part, which no rule of IPv4 touches. */
const NEIGHBOUR_TYPES = [133, 134, 135, 136, 137] as const;

/**
 * Plans our chains and the jumps into them for one family: a step for each table that has something to do, which the kernel takes as a whole. A
 * table for nothing would cost time at either end: after rules went, iptables-nft waits until the kernel has forgotten them.
 * Every jump and every rule matches only while an entry of a gate set lives, and those entries carry time-outs (see clock.ts).
 *
 * In `filter`, before a packet could reach a queue, packets are dropped. In `mangle`, those that leave are classified for the device's
 * queueing disciplines and sent to the engine, which sends copies that pass here again, marked: they are classified only. Exempt packets
 * never come that far. What is classified by several rules belongs to the last, the most particular; a queue takes a packet for good, so
 * there the most particular class is first.
 */
export function planChains(rules: PacketRules, family: Family, facts: PodFacts): readonly Step[] {
  const version = `${VERSION_PREFIX}${shortId(JSON.stringify(rules))}`;
  const sparing = { all: rules, probes: onlyProbes(rules) };
  const hasProbeChains = sparing.probes.drops.length + sparing.probes.classified.length + sparing.probes.queued.length > 0;

  const queues = (own: PacketRules, at: PacketClass["at"]): readonly string[] =>
    own.queued
      .filter(([packetClass]) => packetClass.at === at)
      .toReversed()
      .flatMap(([packetClass, queue]) =>
        classMatch(packetClass, family).map((match) => `${match} -j NFQUEUE --queue-num ${queue} --queue-bypass`),
      );
  const drops = (own: PacketRules, at: CheckedRule["at"]): readonly string[] =>
    own.drops.filter((rule) => rule.at === at).flatMap((rule) => ruleMatch(rule, family).map((match) => `${match} -j DROP`));
  const classify = (own: PacketRules): readonly string[] =>
    own.classified.flatMap(([packetClass, id]) => classMatch(packetClass, family).map((match) => `${match} -j CLASSIFY --set-class ${id}`));

  const exempt = (chain: string, at: CheckedRule["at"]): readonly string[] =>
    exemptions(family, at, facts, { version, probes: hasProbeChains ? `-g ${probesOf(chain)}` : "-j RETURN" });
  const filter: readonly (readonly [string, readonly string[]])[] = [
    ...(hasProbeChains
      ? [
          [probesOf(chains.output), drops(sparing.probes, "egress")] as const,
          [probesOf(chains.input), drops(sparing.probes, "ingress")] as const,
        ]
      : []),
    [chains.output, [...exempt(chains.output, "egress"), ...drops(rules, "egress")]],
    [chains.input, [...exempt(chains.input, "ingress"), ...drops(rules, "ingress")]],
  ];
  const mangle: readonly (readonly [string, readonly string[]])[] = [
    ...(hasProbeChains
      ? [
          [probesOf(chains.leaving), [...classify(sparing.probes), ...queues(sparing.probes, "egress")]] as const,
          [probesOf(chains.arriving), queues(sparing.probes, "ingress")] as const,
        ]
      : []),
    [chains.classes, classify(rules)],
    [
      chains.leaving,
      [
        `-m mark --mark ${MARK} -g ${chains.classes}`,
        ...exempt(chains.leaving, "egress"),
        `-j ${chains.classes}`,
        ...queues(rules, "egress"),
      ],
    ],
    [chains.arriving, [...exempt(chains.arriving, "ingress"), ...queues(rules, "ingress")]],
  ];
  const jumps = {
    filter: [
      `OUTPUT ! -o lo -m set --match-set ${gate(family)} dst -j ${chains.output}`,
      `INPUT ! -i lo -m set --match-set ${gate(family)} src -j ${chains.input}`,
    ],
    mangle: [
      `POSTROUTING ! -o lo -m set --match-set ${gate(family)} dst -j ${chains.leaving}`,
      `INPUT ! -i lo -m set --match-set ${gate(family)} src -j ${chains.arriving}`,
    ],
  };
  const content = (table: "filter" | "mangle", verb: "insert" | "keep"): readonly string[] => {
    const own = table === "filter" ? filter : mangle;
    return [
      `*${table}`,
      ...own.map(([name]) => `:${name} - [0:0]`),
      ...own.flatMap(([name, lines]) => lines.map((line) => `-A ${name} ${line}`)),
      ...(verb === "insert" ? jumps[table].map((jump) => `-I ${jump}`) : []),
      "COMMIT",
    ];
  };
  const removal = (table: "filter" | "mangle"): readonly string[] => {
    const names = (table === "filter" ? filter : mangle).map(([name]) => name);
    return [
      `*${table}`,
      ...jumps[table].map((jump) => `-D ${jump}`),
      ...names.map((name) => `-F ${name}`),
      ...names.map((name) => `-X ${name}`),
      "COMMIT",
    ];
  };
  const step = (table: "filter" | "mangle"): Step => ({
    do: "run",
    id: `${table}-${family}`,
    command: restore(facts, family, content(table, "insert")),
    change: restore(facts, family, content(table, "keep")),
    undo: restore(facts, family, removal(table)),
  });
  return [
    ...(rules.drops.length > 0 ? [step("filter")] : []),
    ...(rules.classified.length + rules.queued.length > 0 ? [step("mangle")] : []),
  ];
}

function onlyProbes({ drops, classified, queued }: PacketRules): PacketRules {
  const affects = ([{ rules }]: readonly [PacketClass, unknown]): boolean => rules.every(({ affectsProbes }) => affectsProbes);
  return {
    drops: drops.filter(({ affectsProbes }) => affectsProbes),
    classified: classified.filter(affects),
    queued: queued.filter(affects),
  };
}

/** What no rule touches: the agent's own traffic and port, the way to neighbours, and the kubelet's probes on the probed ports. */
function exemptions(
  family: Family,
  at: CheckedRule["at"],
  { agentPort, probePorts, probeSources }: PodFacts,
  { version, probes }: { readonly version: string; readonly probes: string },
): readonly string[] {
  const isLeaving = at === "egress";
  const [side, ports] = isLeaving ? (["-d", "--sports"] as const) : (["-s", "--dports"] as const);
  const sources = probePorts.length === 0 ? [] : probeSources.filter((address) => address.includes(":") === (family === "ipv6"));
  const width = family === "ipv4" ? 32 : 128;
  return [
    ...(isLeaving
      ? [`-m owner --gid-owner ${SIDECAR_GID} -m comment --comment ${version} -j RETURN`, `-p tcp -m tcp --sport ${agentPort} -j RETURN`]
      : [`-p tcp -m tcp --dport ${agentPort} -m comment --comment ${version} -j RETURN`]),
    ...(family === "ipv6" ? NEIGHBOUR_TYPES.map((type) => `-p ipv6-icmp -m icmp6 --icmpv6-type ${type} -j RETURN`) : []),
    ...sources.flatMap((address) =>
      inPieces(probePorts).map((some) => `${side} ${address}/${width} -p tcp -m multiport ${ports} ${some.join(",")} ${probes}`),
    ),
  ];
}

/** The match of one rule; none where it has nothing to match in this family. */
function ruleMatch(rule: CheckedRule, family: Family): readonly string[] {
  return matchAll([rule], family);
}

const classMatch = ({ rules }: PacketClass, family: Family): readonly string[] => matchAll(rules, family);

function matchAll(rules: readonly CheckedRule[], family: Family): readonly string[] {
  const at = rules[0]?.at ?? "egress";
  const [peer, device, local, remote] =
    at === "egress" ? (["dst", "-o", "--sports", "--dports"] as const) : (["src", "-i", "--dports", "--sports"] as const);
  const sides = { 1: peer, 2: `${peer},${peer}` } as const;
  const sets: string[] = [];
  for (const { peers, except } of rules) {
    const wanted = peers && matchOf(peers, family);
    if (peers && !wanted) return [];
    const left = except && matchOf(except, family);
    if (wanted) sets.push(`-m set --match-set ${wanted.name} ${sides[wanted.dimensions]}`);
    if (left) sets.push(`-m set ! --match-set ${left.name} ${sides[left.dimensions]}`);
  }
  const devices = new Set(rules.flatMap((rule) => rule.device || []));
  const protocols = new Set(rules.flatMap(({ protocol }) => protocol || []));
  const names = { tcp: "tcp", udp: "udp", icmp: family === "ipv4" ? "icmp" : "ipv6-icmp" } as const;
  const ports = rules.flatMap(({ localPorts, peerPorts }) => [
    ...(localPorts.length > 0 ? [`-m multiport ${local} ${localPorts.join(",")}`] : []),
    ...(peerPorts.length > 0 ? [`-m multiport ${remote} ${peerPorts.join(",")}`] : []),
  ]);
  const faults = [...new Set(rules.map(({ faultId }) => faultId))];
  return [
    [
      ...[...devices].map((name) => `${device} ${name}`),
      ...[...protocols].map((protocol) => `-p ${names[protocol]}`),
      ...ports,
      ...faults.map((faultId) => `-m set --match-set ${gateOf(faultId, family)} ${peer}`),
      ...new Set(sets),
      `-m comment --comment squall-${faults.map(shortId).join("+")}`,
    ].join(" "),
  ];
}

function restore({ iptables }: PodFacts, family: Family, lines: readonly string[]): Command {
  const name = family === "ipv4" ? "iptables" : "ip6tables";
  return { argv: [`${name}-${iptables}-restore`, "--noflush"], stdin: `${lines.join("\n")}\n` };
}

/** multiport takes 15 ports at most. */
function inPieces(ports: readonly number[]): readonly (readonly number[])[] {
  return Array.from({ length: Math.ceil(ports.length / 15) }, (_, index) => ports.slice(index * 15, index * 15 + 15));
}

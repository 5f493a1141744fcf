import { packetMark, SIDECAR_GID } from "../../common/names.ts";
import type { Fault } from "../../proto/gen/agent.ts";
import { Direction, type NetworkFault, type NetworkRule } from "../../proto/gen/faults.ts";
import type { Plan, Refusal, Step } from "../plan.ts";
import type { EngineRules } from "./engine/rules.ts";
import type { PodFacts } from "./facts.ts";
import { chains, GATE, gateOf, peersOf, QUEUE, shortId, VERSION_PREFIX } from "./names.ts";
import { type Network, parseNetworks } from "./parse.ts";

/** A rule that passed every check. `networks` undefined: all traffic. */
type CheckedRule =
  | { readonly faultId: string; readonly do: "drop"; readonly at: "output" | "input"; readonly networks: readonly Network[] | undefined }
  | {
      readonly faultId: string;
      readonly do: "shape";
      readonly at: "postrouting";
      readonly networks: readonly Network[] | undefined;
      readonly shape: ShapeOf;
    };

interface ShapeOf {
  readonly latencyUs: number;
  readonly jitterUs: number;
  readonly lossPercent: number;
}

const MARK = `0x${packetMark.value.toString(16)}/0x${packetMark.mask.toString(16)}`;
const HOUR_US = 3_600_000_000;
/** A gate is created empty: until the clock is set no rule matches. The number is only ipset's default for entries without a time of their own. */
const GATE_OPTIONS = "hash:net family inet timeout 60";

/**
 * Plans all network faults of a pod, combined: sets first, then the engine, then our chains, and last the jumps into them, so nothing has an
 * effect before everything is in place. Every jump and every rule matches only while an entry of a gate set lives, and those entries carry
 * time-outs (see clock.ts). Dropping happens in `filter`, before a packet could reach the queue in `mangle`. See iptables-extensions(8), ipset(8).
 */
export function planNetwork(faults: readonly Fault[], facts: PodFacts): Plan {
  const refused: Refusal[] = [];
  const rules: CheckedRule[] = [];
  for (const fault of faults.toSorted((a, b) => (a.id < b.id ? -1 : 1))) {
    const checked = checkFault(fault);
    if (checked.ok) rules.push(...checked.rules);
    else refused.push({ faultId: fault.id, ...checked.refusal });
  }
  if (rules.length === 0) return { steps: [], refused };
  const shaped = rules.filter((rule) => rule.do === "shape");
  const engine: readonly Step[] = shaped.length === 0 ? [] : [{ do: "engine", id: "engine", rules: planEngine(shaped) }];
  return { steps: [planSets(rules), ...engine, planChains(rules, facts), planJumps(facts)], refused };
}

type Checked =
  | { readonly ok: true; readonly rules: readonly CheckedRule[] }
  | { readonly ok: false; readonly refusal: Omit<Refusal, "faultId"> };

const refuse = (reason: string, message: string): Checked => ({ ok: false, refusal: { reason, message } });

function checkFault(fault: Fault): Checked {
  if (fault.family?.$case !== "network")
    return refuse("UnknownFamily", "This agent does not know this family of faults. Update the pod's sidecar by rolling the workload out.");
  const { rules }: NetworkFault = fault.family.value;
  const checked: CheckedRule[] = [];
  for (const rule of rules) {
    const result = checkRule(fault.id, rule);
    if (!result.ok) return result;
    checked.push(...result.rules);
  }
  return { ok: true, rules: checked };
}

function checkRule(faultId: string, { direction, peers, effect }: NetworkRule): Checked {
  const parsed = peers === undefined ? undefined : parseNetworks(peers.networks);
  if (parsed && !parsed.ok) return refuse(parsed.reason, parsed.message);
  if (parsed?.networks.length === 0) return { ok: true, rules: [] };
  const networks = parsed?.networks;
  if (direction !== Direction.EGRESS && direction !== Direction.INGRESS) return refuse("InvalidRule", "A rule has no direction.");
  if (effect?.$case === "partition") {
    return { ok: true, rules: [{ faultId, do: "drop", at: direction === Direction.EGRESS ? "output" : "input", networks }] };
  }
  if (effect?.$case !== "shape")
    return refuse("UnknownEffect", "This agent does not know the effect of a rule. Update the pod's sidecar by rolling the workload out.");
  if (direction === Direction.INGRESS) return refuse("NotYetSupported", "Packets that arrive cannot be shaped yet, only those that leave.");
  const { latencyUs, jitterUs, lossPercent } = effect.value;
  const isSane =
    [latencyUs, jitterUs].every((us) => Number.isInteger(us) && us >= 0 && us <= HOUR_US) && lossPercent >= 0 && lossPercent <= 100;
  if (!isSane)
    return refuse(
      "InvalidRule",
      `A latency of ${latencyUs} us with a jitter of ${jitterUs} us and a loss of ${lossPercent} % is out of range.`,
    );
  return { ok: true, rules: [{ faultId, do: "shape", at: "postrouting", networks, shape: { latencyUs, jitterUs, lossPercent } }] };
}

function planSets(rules: readonly CheckedRule[]): Step {
  const gates = [GATE, ...new Set(rules.map(({ faultId }) => gateOf(faultId)))];
  const peers = new Map(rules.flatMap(({ networks }) => (networks ? [[peersOf(networks), networks] as const] : [])));
  const lines = [
    ...gates.map((name) => `create ${name} ${GATE_OPTIONS}`),
    ...[...peers].flatMap(([name, networks]) => [
      `create ${name} hash:net family inet maxelem ${Math.max(65_536, networks.length)}`,
      ...networks.map((network) => `add ${name} ${network}`),
    ]),
  ];
  return {
    do: "run",
    id: "sets",
    command: { argv: ["ipset", "-exist", "restore"], stdin: `${lines.join("\n")}\n` },
    undo: { argv: ["ipset", "restore"], stdin: `${[...gates, ...peers.keys()].map((name) => `destroy ${name}`).join("\n")}\n` },
    thenClock: true,
  };
}

function planEngine(rules: readonly Extract<CheckedRule, { do: "shape" }>[]): EngineRules {
  return { faults: rules.map(({ faultId, networks, shape }) => ({ id: faultId, networks: networks ?? "all", ...shape })) };
}

function planChains(rules: readonly CheckedRule[], facts: PodFacts): Step {
  const { agentPort, probePorts, probeSources } = facts;
  const probes = (direction: "-s" | "-d", side: "--dports" | "--sports"): readonly string[] =>
    probePorts.length === 0
      ? []
      : probeSources.flatMap((address) =>
          inPieces(probePorts).map((ports) => `${direction} ${address}/32 -p tcp -m multiport ${side} ${ports.join(",")} -j RETURN`),
        );
  const leaving = [
    `-m owner --gid-owner ${SIDECAR_GID} -m comment --comment ${versionOf(rules)} -j RETURN`,
    `-p tcp -m tcp --sport ${agentPort} -j RETURN`,
    ...probes("-d", "--sports"),
  ];
  const arriving = [`-p tcp -m tcp --dport ${agentPort} -j RETURN`, ...probes("-s", "--dports")];

  const match = ({ faultId, networks }: CheckedRule, side: "dst" | "src"): string =>
    `-m set --match-set ${gateOf(faultId)} ${side}${networks ? ` -m set --match-set ${peersOf(networks)} ${side}` : ""} -m comment --comment squall-${shortId(faultId)}`;
  const drops = (at: "output" | "input", side: "dst" | "src"): readonly string[] =>
    rules.filter((rule) => rule.at === at).map((rule) => `${match(rule, side)} -j DROP`);
  const queues = rules
    .filter(({ at }) => at === "postrouting")
    .map((rule) => `${match(rule, "dst")} -j NFQUEUE --queue-num ${QUEUE} --queue-bypass`);

  const fill = (chain: string, lines: readonly string[]): readonly string[] => lines.map((line) => `-A ${chain} ${line}`);
  const lines = [
    "*filter",
    `:${chains.output} - [0:0]`,
    `:${chains.input} - [0:0]`,
    ...fill(chains.output, [...leaving, ...drops("output", "dst")]),
    ...fill(chains.input, [...arriving, ...drops("input", "src")]),
    "COMMIT",
    "*mangle",
    `:${chains.postrouting} - [0:0]`,
    ...fill(chains.postrouting, [`-m mark --mark ${MARK} -j RETURN`, ...leaving, ...queues]),
    "COMMIT",
  ];
  const removal = [
    "*filter",
    ...[chains.output, chains.input].flatMap((name) => [`-F ${name}`, `-X ${name}`]),
    "COMMIT",
    "*mangle",
    `-F ${chains.postrouting}`,
    `-X ${chains.postrouting}`,
    "COMMIT",
  ];
  return { do: "run", id: "chains", command: restore(facts, lines), undo: restore(facts, removal) };
}

/** The same for every plan, so the executor leaves it alone when only the rules change. */
function planJumps(facts: PodFacts): Step {
  const jumps = {
    filter: [
      `OUTPUT ! -o lo -m set --match-set ${GATE} dst -j ${chains.output}`,
      `INPUT ! -i lo -m set --match-set ${GATE} src -j ${chains.input}`,
    ],
    mangle: [`POSTROUTING ! -o lo -m set --match-set ${GATE} dst -j ${chains.postrouting}`],
  };
  const lines = (verb: "-I" | "-D"): readonly string[] =>
    Object.entries(jumps).flatMap(([table, rules]) => [`*${table}`, ...rules.map((rule) => `${verb} ${rule}`), "COMMIT"]);
  return { do: "run", id: "jumps", command: restore(facts, lines("-I")), undo: restore(facts, lines("-D")) };
}

function restore({ iptables }: PodFacts, lines: readonly string[]): { readonly argv: readonly [string, string]; readonly stdin: string } {
  return { argv: [`iptables-${iptables}-restore`, "--noflush"], stdin: `${lines.join("\n")}\n` };
}

/** Tells readers of counters which rules they read: replaced rules count from zero again. */
function versionOf(rules: readonly CheckedRule[]): string {
  return `${VERSION_PREFIX}${shortId(JSON.stringify(rules))}`;
}

/** multiport takes 15 ports at most. */
function inPieces(ports: readonly number[]): readonly (readonly number[])[] {
  return Array.from({ length: Math.ceil(ports.length / 15) }, (_, index) => ports.slice(index * 15, index * 15 + 15));
}

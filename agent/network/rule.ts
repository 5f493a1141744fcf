import type { Fault } from "../../proto/gen/agent.ts";
import { Direction, Engine, type NetworkRule, type PortRange, Protocol, type Shape } from "../../proto/gen/faults.ts";
import { type Parsed, parsePeers, type PeerMatch, type ResolvedNames } from "./parse.ts";

/** A rule that passed every check. */
export interface CheckedRule {
  /** Names the rule among all of the pod. */
  readonly key: string;
  readonly faultId: string;
  readonly at: "egress" | "ingress";
  /** Undefined: all traffic. */
  readonly peers: PeerMatch | undefined;
  readonly except: PeerMatch | undefined;
  /** Empty: every device but loopback. */
  readonly device: string;
  readonly protocol: "" | "tcp" | "udp" | "icmp";
  /** As multiport takes them, such as 80 or 8000:8010. */
  readonly localPorts: readonly string[];
  readonly peerPorts: readonly string[];
  readonly affectsProbes: boolean;
  /** Undefined: packets are dropped. */
  readonly shape: Shape | undefined;
  readonly wants: "any" | "netem" | "nfqueue";
}

export type ShapedRule = CheckedRule & { readonly shape: Shape };

const HOUR_US = 3_600_000_000;
/** multiport takes 15, of which a range counts twice. */
const MOST_PORTS = 15;

/** Checks a fault as if the controller's own checks did not exist. */
export function checkFault({ id, family }: Fault, resolved: ResolvedNames): Parsed<readonly CheckedRule[]> {
  if (family?.$case !== "network")
    return refuse("UnknownFamily", "This agent does not know this family of faults. Update the pod's sidecar by rolling the workload out.");
  const checked: CheckedRule[] = [];
  for (const [index, rule] of family.value.rules.entries()) {
    const result = checkRule(rule, resolved);
    if (!result.ok) return result;
    const { engine, affectsProbes } = family.value;
    const wants = engine === Engine.NETEM ? "netem" : engine === Engine.NFQUEUE ? "nfqueue" : "any";
    checked.push({ key: `${id}#${index}`, faultId: id, affectsProbes, wants, ...result.value });
  }
  return { ok: true, value: checked };
}

type RuleItself = Omit<CheckedRule, "key" | "faultId" | "affectsProbes" | "wants">;

function checkRule(rule: NetworkRule, resolved: ResolvedNames): Parsed<RuleItself> {
  const { direction, effect, device, protocol } = rule;
  if (direction !== Direction.EGRESS && direction !== Direction.INGRESS) return refuse("InvalidRule", "A rule has no direction.");
  if (effect?.$case !== "partition" && effect?.$case !== "shape")
    return refuse("UnknownEffect", "This agent does not know the effect of a rule. Update the pod's sidecar by rolling the workload out.");
  if (!/^[A-Za-z0-9_.-]{0,15}$/.test(device)) return refuse("InvalidRule", `${JSON.stringify(device.slice(0, 20))} is no network device.`);
  const peers = rule.peers === undefined ? undefined : parsePeers(rule.peers, resolved);
  if (peers?.ok === false) return peers;
  const except = rule.except === undefined ? undefined : parsePeers(rule.except, resolved);
  if (except?.ok === false) return except;
  const names = { [Protocol.TCP]: "tcp", [Protocol.UDP]: "udp", [Protocol.ICMP]: "icmp" } as const;
  if (protocol === Protocol.UNRECOGNIZED) return refuse("UnknownEffect", "This agent does not know the protocol of a rule.");
  const localPorts = portsOf(rule.localPorts);
  const peerPorts = portsOf(rule.peerPorts);
  if (localPorts === undefined || peerPorts === undefined)
    return refuse("InvalidRule", `A rule has a port that is none, or more than ${MOST_PORTS}.`);
  const hasPorts = localPorts.length + peerPorts.length > 0;
  if (hasPorts && protocol !== Protocol.TCP && protocol !== Protocol.UDP)
    return refuse("InvalidRule", "Ports need the protocol TCP or UDP.");
  const shape = effect.$case === "shape" ? effect.value : undefined;
  const problem = shape && problemWithShape(shape);
  if (problem !== undefined) return refuse("InvalidRule", problem);
  return {
    ok: true,
    value: {
      at: direction === Direction.EGRESS ? "egress" : "ingress",
      peers: peers?.value,
      except: except?.value,
      device,
      protocol: protocol === Protocol.UNSPECIFIED ? "" : names[protocol],
      localPorts,
      peerPorts,
      shape,
    },
  };
}

function portsOf(ranges: readonly PortRange[]): readonly string[] | undefined {
  const isPort = (port: number): boolean => Number.isInteger(port) && port >= 1 && port <= 65_535;
  if (!ranges.every(({ first, last }) => isPort(first) && isPort(last) && first <= last)) return undefined;
  if (ranges.reduce((sum, { first, last }) => sum + (first === last ? 1 : 2), 0) > MOST_PORTS) return undefined;
  return ranges.map(({ first, last }) => (first === last ? String(first) : `${first}:${last}`));
}

function problemWithShape(shape: Shape): string | undefined {
  const { reorder, bandwidth } = shape;
  const percents = {
    loss: shape.lossPercent,
    duplicate: shape.duplicatePercent,
    corrupt: shape.corruptPercent,
    reorder: reorder?.percent ?? 0,
    "correlation of latency": shape.latencyCorrelation,
    "correlation of loss": shape.lossCorrelation,
    "correlation of duplicate": shape.duplicateCorrelation,
    "correlation of corrupt": shape.corruptCorrelation,
    "correlation of reorder": reorder?.correlation ?? 0,
  };
  for (const [name, percent] of Object.entries(percents))
    if (!(percent >= 0 && percent <= 100)) return `A ${name} of ${percent} % is out of range.`;
  const counts = { rate: shape.rateBitsPerSecond, gap: reorder?.gap ?? 0, ...bandwidth };
  for (const [name, count] of Object.entries(counts))
    if (!Number.isSafeInteger(count) || count < 0) return `A ${name} of ${count} is out of range.`;
  for (const us of [shape.latencyUs, shape.jitterUs])
    if (!Number.isInteger(us) || us < 0 || us > HOUR_US)
      return `A latency of ${shape.latencyUs} us with a jitter of ${shape.jitterUs} us is out of range.`;
  if (bandwidth && (bandwidth.rateBitsPerSecond < 8 || bandwidth.limitBytes < 1 || bandwidth.bufferBytes < 1))
    return "A bandwidth has no rate, limit or buffer.";
  if (bandwidth && (shape.latencyUs > 0 || shape.lossPercent > 0 || shape.rateBitsPerSecond > 0))
    return "A bandwidth goes with nothing else in one rule.";
  return undefined;
}

export function refuse(reason: string, message: string): Parsed<never> {
  return { ok: false, reason, message };
}

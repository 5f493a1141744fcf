import ipaddr from "ipaddr.js";
import { parseExternalTarget } from "../../api/blocks/external-target.ts";
import { parsePorts } from "../../api/blocks/ports.ts";
import { parseRate } from "../../api/blocks/scalars.ts";
import { asWritten } from "../../api/kinds/network-chaos.ts";
import type { SpecOf } from "../../api/kinds/experiments.ts";
import { parseDurationMs } from "../../common/duration.ts";
import { Direction, Engine, type NetworkFault, type NetworkRule, type Peers, Protocol, type Shape } from "../../proto/gen/faults.ts";
import type { ServiceCoverage } from "../services.ts";
import type { SelectorKey } from "../../api/kinds/definition.ts";
import type { Target, TargetFault, Translator } from "./translator.ts";

type Spec = SpecOf<"NetworkChaos">;

/** Packets that go from some pods to others, or to and from everybody. */
interface Flow {
  /** Undefined: anybody. */
  readonly senders: SelectorKey | undefined;
  readonly receivers: SelectorKey | undefined;
}

/**
 * What each target of a NetworkChaos carries, as seen from that pod:
 *
 * |                | on selected pods (.)             | on target pods (.Target) |
 * | -------------- | -------------------------------- | ------------------------ |
 * | shape to       | egress to target and external    | nothing                  |
 * | shape from     | nothing                          | egress to selected       |
 * | partition to   | egress to target and external    | ingress from selected    |
 * | partition from | ingress from target and external | egress to selected       |
 *
 * `both` is `to` and `from` together. With neither target nor external targets, all traffic of the selected pods is meant. What a partition
 * does on target pods is for the other end to see it, too; one without a sidecar goes without. Where packets go through a Service that has
 * other endpoints as well, they are shaped where they arrive, if all receivers can do that.
 */
export const networkChaos: Translator<Spec> = {
  whyUnable(spec, key, { engines: found, missing, devices }) {
    const device = key === "." ? spec.device : spec.targetDevice;
    if (device !== undefined && device !== "" && !devices.includes(device)) {
      const message = `The pod has no network device ${device}. It has ${devices.join(", ") || "none"}.`;
      return { reason: "CannotCarry", message };
    }
    if (spec.action === "partition") return undefined;
    const { engine = "auto" } = spec;
    if (engine === "auto" ? found.length > 0 : found.includes(engine)) return undefined;
    const why = missing.filter((text) => engine === "auto" || text.startsWith(`${engine}: `)).join(" ");
    const wayOut = engine !== "auto" && found.length > 0 ? ` Leave spec.engine out, or write ${found.join(" or ")}.` : "";
    return {
      reason: "CannotCarry",
      message: `The pod's kernel cannot shape packets by ${engine === "auto" ? "any engine" : engine}. ${why}${wayOut}`,
    };
  },
  actOf: () => undefined,
  faultsOf(spec, around) {
    const { sources, targets } = around;
    const podsOf = (key: SelectorKey): readonly Target[] => (key === "." ? sources : targets);
    const coverage = { ".": around.coverServices(sources), ".Target": spec.target ? around.coverServices(targets) : nothing };
    const external = externalPeers(spec.externalTargets ?? []);
    const hasFarSide = spec.target !== undefined || !isEmpty(external);
    const far = hasFarSide ? (".Target" as const) : undefined;
    const flows: readonly Flow[] = [
      ...(spec.direction !== "from" ? [{ senders: "." as const, receivers: far }] : []),
      ...(spec.direction !== "to" ? [{ senders: far, receivers: "." as const }] : []),
    ];
    const shape = shapeOf(spec);
    const isShapedOnArrival = ({ senders, receivers }: Flow): boolean =>
      senders !== undefined &&
      receivers !== undefined &&
      coverage[receivers].partly.length > 0 &&
      podsOf(receivers).every(({ hasAgent }) => hasAgent) &&
      shape !== undefined &&
      shape.duplicatePercent === 0 &&
      spec.engine !== "netem";
    // Answers through a Service come from its address, so it belongs to the other side in both directions.
    const peersOf = (key: SelectorKey, { withPods }: { readonly withPods: boolean }): Peers =>
      joinPeers(withPods ? podPeers(podsOf(key), coverage[key].addresses) : noPeers, key === ".Target" ? external : noPeers);

    /** The same for all pods of a selector, and one object for them: there may be thousands of them, with thousands of peers. */
    const faultOf = (key: SelectorKey): Omit<TargetFault, "target"> | undefined => {
      const rules: NetworkRule[] = [];
      const unmatched = new Set<string>();
      for (const flow of flows) {
        const { senders, receivers } = flow;
        const onArrival = isShapedOnArrival(flow);
        if (senders === key) {
          const peers = receivers && peersOf(receivers, { withPods: !onArrival });
          if (peers === undefined || !isEmpty(peers)) rules.push(ruleOf(spec, Direction.EGRESS, key, peers));
          // A partition drops packets at the other end, too, where that end has a sidecar.
          const isDroppedThere = shape === undefined && receivers !== undefined && podsOf(receivers).every(({ hasAgent }) => hasAgent);
          if (receivers !== undefined && !onArrival && !isDroppedThere) for (const name of coverage[receivers].partly) unmatched.add(name);
        }
        if (receivers === key && (shape === undefined || onArrival)) {
          const peers = senders && peersOf(senders, { withPods: true });
          if (peers === undefined || !isEmpty(peers)) rules.push(ruleOf(spec, Direction.INGRESS, key, peers));
        }
      }
      if (rules.length === 0) return undefined;
      const value: NetworkFault = {
        rules: rules.toSorted((a, b) => a.direction - b.direction),
        engine: engines[spec.engine ?? "auto"],
        affectsProbes: spec.affectProbes === true,
      };
      return { family: { $case: "network", value }, unmatchedServices: [...unmatched].toSorted() };
    };
    const faults = { ".": faultOf("."), ".Target": faultOf(".Target") };
    const excluded = excludedBy(spec);
    return [...sources, ...targets].flatMap((target): readonly TargetFault[] => {
      const fault = faults[target.selectorKey];
      if (fault === undefined || !target.hasAgent || (target.selectorKey === ".Target" && excluded(target))) return [];
      return [{ target, ...fault }];
    });
  },
};

const nothing: ServiceCoverage = { addresses: [], partly: [] };
const noPeers: Peers = { networks: [], endpoints: [], hostNames: [] };
const engines = { auto: Engine.UNSPECIFIED, netem: Engine.NETEM, nfqueue: Engine.NFQUEUE } as const;
const protocols = { tcp: Protocol.TCP, udp: Protocol.UDP, icmp: Protocol.ICMP } as const;

const isEmpty = ({ networks, endpoints, hostNames }: Peers): boolean => networks.length + endpoints.length + hostNames.length === 0;

function ruleOf(spec: Spec, direction: Direction, key: SelectorKey, peers: Peers | undefined): NetworkRule {
  const shape = shapeOf(spec);
  const [near, far] = [parsePorts(spec.sourcePorts ?? []), parsePorts(spec.ports ?? [])];
  const except = key === "." && spec.exclude ? externalPeers(spec.exclude) : undefined;
  return {
    direction,
    peers,
    except,
    device: (key === "." ? spec.device : spec.targetDevice) ?? "",
    protocol: spec.protocol === undefined ? Protocol.UNSPECIFIED : protocols[spec.protocol],
    localPorts: [...(key === "." ? near : far)],
    peerPorts: [...(key === "." ? far : near)],
    effect: shape === undefined ? { $case: "partition", value: {} } : { $case: "shape", value: shape },
  };
}

/** Undefined for a partition. Blocks that the action does not use are left out, as Chaos Mesh does. */
function shapeOf(spec: Spec): Shape | undefined {
  const { delay, loss, duplicate, corrupt, rate, bandwidth } = asWritten(spec);
  if (spec.action === "partition") return undefined;
  const us = (duration: string | undefined): number => Math.round((parseDurationMs(duration ?? "0") ?? 0) * 1000);
  const bits = (text: string | undefined): number => Number(parseRate(text ?? "0bit") ?? 0n);
  return {
    latencyUs: us(delay?.latency),
    jitterUs: us(delay?.jitter),
    latencyCorrelation: Number(delay?.correlation ?? 0),
    reorder: delay?.reorder && {
      percent: Number(delay.reorder.reorder),
      correlation: Number(delay.reorder.correlation),
      gap: delay.reorder.gap,
    },
    lossPercent: Number(loss?.loss ?? 0),
    lossCorrelation: Number(loss?.correlation ?? 0),
    duplicatePercent: Number(duplicate?.duplicate ?? 0),
    duplicateCorrelation: Number(duplicate?.correlation ?? 0),
    corruptPercent: Number(corrupt?.corrupt ?? 0),
    corruptCorrelation: Number(corrupt?.correlation ?? 0),
    rateBitsPerSecond: bits(rate?.rate),
    bandwidth: bandwidth && {
      rateBitsPerSecond: bits(bandwidth.rate),
      limitBytes: bandwidth.limit,
      bufferBytes: bandwidth.buffer,
      // a plain number, which tc(8) reads as bits per second
      peakRateBitsPerSecond: bandwidth.peakrate ?? 0,
      minBurstBytes: bandwidth.minburst ?? 0,
    },
  };
}

function podPeers(pods: readonly Target[], services: readonly string[]): Peers {
  const addresses = [...pods.flatMap((pod) => pod.addresses), ...services];
  return { ...noPeers, networks: [...new Set(addresses.map((ip) => `${ip}/${ip.includes(":") ? 128 : 32}`))].toSorted() };
}

function joinPeers(one: Peers, other: Peers): Peers {
  return {
    networks: [...new Set([...one.networks, ...other.networks])].toSorted(),
    endpoints: [...one.endpoints, ...other.endpoints],
    hostNames: [...one.hostNames, ...other.hostNames],
  };
}

function externalPeers(texts: readonly string[]): Peers {
  const peers: Peers = { networks: [], endpoints: [], hostNames: [] };
  for (const text of texts) {
    const target = parseExternalTarget(text);
    if (target?.is === "name") peers.hostNames.push({ name: target.name, port: target.port ?? 0 });
    else if (target?.port !== undefined) peers.endpoints.push({ network: target.network, port: target.port });
    else if (target !== undefined) peers.networks.push(target.network);
  }
  return peers;
}

/** Tells whether a target pod is among the addresses that are left alone as a whole. */
function excludedBy({ exclude = [] }: Spec): (target: Target) => boolean {
  const networks = externalPeers(exclude).networks.map((network) => ipaddr.parseCIDR(network));
  if (networks.length === 0) return () => false;
  return ({ addresses }) =>
    addresses.some((address) => {
      const parsed = ipaddr.parse(address);
      return networks.some(([base, bits]) => base.kind() === parsed.kind() && parsed.match(base, bits));
    });
}

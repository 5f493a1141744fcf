import type { PodFacts } from "../../agent/network/facts.ts";
import type { Fault } from "../../proto/gen/agent.ts";
import { Direction, Engine, type NetworkFault, type NetworkRule, type Peers, Protocol, type Shape } from "../../proto/gen/faults.ts";

/** Builders of network faults: a test says what it is about, the rest is plain. */

export const networks = (...list: readonly string[]): Peers => ({ networks: [...list], endpoints: [], hostNames: [] });

export const shape = (own: Partial<Shape>): NetworkRule["effect"] => ({
  $case: "shape",
  value: {
    latencyUs: 0,
    jitterUs: 0,
    lossPercent: 0,
    latencyCorrelation: 0,
    lossCorrelation: 0,
    duplicatePercent: 0,
    duplicateCorrelation: 0,
    corruptPercent: 0,
    corruptCorrelation: 0,
    reorder: undefined,
    rateBitsPerSecond: 0,
    bandwidth: undefined,
    ...own,
  },
});

export const rule = (own: Partial<NetworkRule>): NetworkRule => ({
  direction: Direction.EGRESS,
  peers: undefined,
  except: undefined,
  device: "",
  protocol: Protocol.UNSPECIFIED,
  localPorts: [],
  peerPorts: [],
  effect: { $case: "partition", value: {} },
  ...own,
});

export const networkFault = (
  id: string,
  rules: readonly NetworkRule[],
  { leaseMs = 60_000, ...own }: Partial<NetworkFault> & { readonly leaseMs?: number } = {},
): Fault => ({
  id,
  experimentUid: "e",
  experiment: "x",
  leaseMs,
  remainingMs: undefined,
  family: { $case: "network", value: { engine: Engine.UNSPECIFIED, affectsProbes: false, ...own, rules: [...rules] } },
});

/** A pod with one IPv4 address and one device, on a kernel without netem. */
export const podFacts = (own: Partial<PodFacts> = {}): PodFacts => ({
  iptables: "nft",
  families: ["ipv4"],
  devices: ["eth0"],
  noNetem: "The kernel has none.",
  noNfqueue: undefined,
  foreignQdiscs: [],
  probeSources: ["10.244.0.1", "10.250.0.2"],
  probePorts: [8080, 9000],
  agentPort: 9445,
  hasIfb: true,
  hasMeshRedirect: false,
  hasBpf: false,
  ...own,
});

/** The rules of a network fault; none of any other. */
export const networkRulesOf = (family: Fault["family"]): readonly NetworkRule[] => (family?.$case === "network" ? family.value.rules : []);

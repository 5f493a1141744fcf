import type { Step } from "../plan.ts";
import type { Family } from "./families.ts";
import { gate, gateOf, setOf } from "./names.ts";
import type { PeerMatch, PeerSets } from "./parse.ts";
import type { CheckedRule } from "./rule.ts";

/** A gate is created empty: until the clock is set no rule matches. The number is only ipset's default for entries without a time of their own. */
const GATE_SECONDS = 60;

/** How a rule names a set: `dimensions` many of its sides are compared, see iptables-extensions(8), set. */
export interface SetMatch {
  readonly name: string;
  readonly dimensions: 1 | 2;
}

/** The set that stands for one end of packets; undefined when it has nothing in this family, so that nothing matches. */
export function matchOf(peers: PeerMatch, family: Family): SetMatch | undefined {
  const { networks, endpoints } = peers[family];
  if (networks.length > 0 && endpoints.length > 0) return { name: listOf(peers[family]), dimensions: 2 };
  if (networks.length > 0) return { name: setOf("peers", networks), dimensions: 1 };
  return endpoints.length > 0 ? { name: setOf("endpoints", endpoints), dimensions: 2 } : undefined;
}

const listOf = ({ networks, endpoints }: PeerSets): string => setOf("list", [...networks, ...endpoints]);

/** All sets of a plan: the gates of the kernel-held clock, empty, and the ends of packets, filled. */
export function planSets(rules: readonly CheckedRule[], families: readonly Family[]): Step {
  const created = new Map<string, readonly string[]>();
  for (const family of families) {
    const inet = family === "ipv4" ? "inet" : "inet6";
    for (const name of [gate(family), ...rules.map(({ faultId }) => gateOf(faultId, family))])
      created.set(name, [`create ${name} hash:net family ${inet} timeout ${GATE_SECONDS}`]);
    for (const peers of rules.flatMap((rule) => [rule.peers ?? [], rule.except ?? []].flat())) addPeers(created, peers[family], inet);
  }
  const names = [...created.keys()];
  return {
    do: "run",
    id: "sets",
    command: { argv: ["ipset", "-exist", "restore"], stdin: `${[...created.values()].flat().join("\n")}\n` },
    // lists first: a set that is in one cannot be destroyed
    undo: {
      argv: ["ipset", "restore"],
      stdin: `${names
        .toReversed()
        .map((name) => `destroy ${name}`)
        .join("\n")}\n`,
    },
    thenClock: true,
  };
}

function addPeers(created: Map<string, readonly string[]>, sets: PeerSets, inet: string): void {
  const { networks, endpoints } = sets;
  const size = (entries: readonly string[]): number => Math.max(65_536, entries.length);
  if (networks.length > 0) {
    const name = setOf("peers", networks);
    created.set(name, [
      `create ${name} hash:net family ${inet} maxelem ${size(networks)}`,
      ...networks.map((network) => `add ${name} ${network}`),
    ]);
  }
  if (endpoints.length > 0) {
    const name = setOf("endpoints", endpoints);
    created.set(name, [
      `create ${name} hash:net,port family ${inet} maxelem ${size(endpoints)}`,
      ...endpoints.map((endpoint) => `add ${name} ${endpoint}`),
    ]);
  }
  if (networks.length > 0 && endpoints.length > 0) {
    const name = listOf(sets);
    created.set(name, [
      `create ${name} list:set size 8`,
      `add ${name} ${setOf("peers", networks)}`,
      `add ${name} ${setOf("endpoints", endpoints)}`,
    ]);
  }
}

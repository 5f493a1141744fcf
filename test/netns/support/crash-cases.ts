import assert from "node:assert/strict";
import type { Fault } from "../../../proto/gen/agent.ts";
import { Direction, type NetworkRule, type Shape } from "../../../proto/gen/faults.ts";
import { networkFault, networks, rule, shape } from "../../support/network-faults.ts";
import { LEFT, LEFT6, RIGHT, RIGHT6, type TwoHosts } from "./two-hosts.ts";

/** Every action in every direction, each so strong that a handful of packets shows whether it is in force. */

const peers = networks(`${RIGHT}/32`, `${RIGHT6}/128`);
const slow = { latencyUs: 400_000 };
const bucket = { limitBytes: 100_000, bufferBytes: 1_600, peakRateBitsPerSecond: 0, minBurstBytes: 0 };
const shapes: Readonly<Record<string, Partial<Shape>>> = {
  delay: slow,
  jitter: { ...slow, jitterUs: 50_000, latencyCorrelation: 25 },
  reorder: { ...slow, reorder: { percent: 50, correlation: 0, gap: 2 } },
  loss: { lossPercent: 100 },
  duplicate: { duplicatePercent: 100 },
  corrupt: { corruptPercent: 100 },
  rate: { rateBitsPerSecond: 8_000 },
  bandwidth: { bandwidth: { ...bucket, rateBitsPerSecond: 16_000 } },
  netem: {
    ...slow,
    jitterUs: 10_000,
    lossPercent: 5,
    corruptPercent: 1,
    reorder: { percent: 10, correlation: 0, gap: 2 },
    rateBitsPerSecond: 80_000,
  },
};
const effects: Readonly<Record<string, NetworkRule["effect"]>> = {
  ...Object.fromEntries(Object.entries(shapes).map(([action, own]) => [action, shape(own)])),
  partition: { $case: "partition", value: {} },
};
const ways = { to: [Direction.EGRESS], from: [Direction.INGRESS], both: [Direction.EGRESS, Direction.INGRESS] } as const;

/** By action and direction, such as "loss from". What arrives cannot be duplicated. */
export const crashCases: Readonly<Record<string, readonly Fault[]>> = Object.fromEntries(
  Object.entries(effects).flatMap(([action, effect]) =>
    Object.entries(ways)
      .filter(([direction]) => action !== "duplicate" || direction === "to")
      .map(([direction, own]) => [
        `${action} ${direction}`,
        [
          networkFault(
            "uid/.",
            own.map((way) => rule({ peers, direction: way, effect })),
          ),
        ],
      ]),
  ),
);

/** Where a probe sees the faults of a case. */
export const directionsOf = (name: string): readonly string[] =>
  name.endsWith(" both") ? ["to", "from"] : [name.slice(name.indexOf(" ") + 1)];

/** Joins and leaves while a fault above stands: a change of plan has changes of its own. */
export const another: Fault = networkFault("other/.", [rule({ effect: shape({ latencyUs: 1_000 }) })]);

export interface Probe {
  /** Asserts that faults are in force in these directions, "to" and "from", and in no other. */
  sees(...directions: readonly string[]): Promise<void>;
}

const COUNT = 3;
/** Above what a busy machine needs, below what any fault above takes. */
const USUAL_MS = 250;
const PATIENCE_MS = 600;
const TRIES_MS = 4_000;
/** A starved process says nothing about faults: it tries again. */
const USUAL_LAG_MS = 100;
const STARVED_TRIES_MS = 60_000;

export async function startProbe({ left, right }: TwoHosts): Promise<Probe> {
  const ports = {
    left: (await left.traffic({ do: "listen-udp" })).port ?? 0,
    right: (await right.traffic({ do: "listen-udp" })).port ?? 0,
  };
  const paths = [
    { name: "to IPv4", from: left, at: right, to: RIGHT, port: ports.right },
    { name: "from IPv4", from: right, at: left, to: LEFT, port: ports.left },
    { name: "to IPv6", from: left, at: right, to: RIGHT6, port: ports.right },
    { name: "from IPv6", from: right, at: left, to: LEFT6, port: ports.left },
  ] as const;
  /** What is unusual about a few packets each way, in both families, and how long their processes had to wait for their turns. */
  async function observe(): Promise<{ readonly found: readonly string[]; readonly lagMs: number }> {
    const found: string[] = [];
    let lagMs = 0;
    for (const { name, from, at, to, port } of paths) {
      await at.traffic({ do: "take-arrivals" });
      const sent = { to, port, count: COUNT, bytes: 1_200, gapMs: 1, burst: 1, sockets: 1 };
      const { errors = [], lagMs: sending = 0 } = await from.traffic({ do: "send-udp", ...sent });
      const { arrivals = [], lagMs: taking = 0 } = await at.traffic({ do: "await-arrivals", count: COUNT, withinMs: PATIENCE_MS });
      lagMs = Math.max(lagMs, sending, taking);
      const late = arrivals.filter(({ delayMs }) => delayMs > USUAL_MS);
      if (errors.length > 0) found.push(`${name}: ${errors[0]}`);
      else if (arrivals.length !== COUNT) found.push(`${name}: ${arrivals.length} of ${COUNT} came`);
      else if (late.length > 0) found.push(`${name}: after ${late[0]?.delayMs} ms`);
      else if (arrivals.some(({ isDamaged }) => isDamaged)) found.push(`${name}: damaged`);
    }
    return { found, lagMs };
  }

  return {
    async sees(...directions) {
      const begun = performance.now();
      for (;;) {
        const { found, lagMs } = await observe();
        const seen = new Set(found.map((line) => line.slice(0, line.indexOf(" "))));
        if (directions.length === seen.size && directions.every((direction) => seen.has(direction))) return;
        if (performance.now() - begun > (lagMs > USUAL_LAG_MS ? STARVED_TRIES_MS : TRIES_MS))
          assert.fail(`faults ${directions.join(" and ") || "nowhere"} were expected, seen: ${found.join("; ") || "none"}`);
      }
    },
  };
}

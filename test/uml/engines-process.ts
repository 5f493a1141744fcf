import { writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { FaultState } from "../../proto/gen/agent.ts";
import { Engine, type Shape } from "../../proto/gen/faults.ts";
import { createTwoHosts, RIGHT } from "../netns/support/two-hosts.ts";
import { networkFault, networks, rule, shape } from "../support/network-faults.ts";
import { mean, median, standardDeviation } from "../support/statistics.ts";
import type { EngineFigures } from "./engines.ts";

/** Runs in a kernel that has both engines: gives each the same faults and the same traffic, and prints one line of JSON with what came of it. */

/** The engines take turns, and the median of their rounds counts: a machine that stands still for a moment spoils one of them. */
const ROUNDS = 3;

const hosts = await createTwoHosts();
const agent = await hosts.startAgent();
const udp = (await hosts.right.traffic({ do: "listen-udp" })).port ?? 0;
const tcp = (await hosts.right.traffic({ do: "listen-tcp" })).port ?? 0;

async function delaysOf(count: number, burst: number): Promise<readonly number[]> {
  await hosts.left.traffic({ do: "send-udp", to: RIGHT, port: udp, count, bytes: 100, gapMs: 2, burst, sockets: 4 });
  await sleep(500);
  return ((await hosts.right.traffic({ do: "take-arrivals" })).arrivals ?? []).map(({ delayMs }) => delayMs);
}

async function rateOf(bytes: number): Promise<number> {
  const { seconds = Number.NaN } = await hosts.left.traffic({ do: "send-tcp", to: RIGHT, port: tcp, bytes });
  return (bytes * 8) / seconds / 1e6;
}

interface Case {
  readonly shape: Partial<Shape>;
  /** Figures by their names. */
  readonly measure: () => Promise<Readonly<Record<string, number>>>;
}

/** Two at a time: with five, this kernel's one CPU is too slow for the receiver, whose buffer then drops some. */
const shareOf = async (): Promise<number> => ((await delaysOf(4_000, 2)).length / 4_000) * 100;
const bandwidth = { rateBitsPerSecond: 16_000_000, limitBytes: 200_000, bufferBytes: 20_000, peakRateBitsPerSecond: 0, minBurstBytes: 0 };

const cases: readonly Case[] = [
  { shape: { latencyUs: 50_000 }, measure: async () => ({ "mean of a delay of 50 ms": mean(await delaysOf(200, 1)) }) },
  {
    shape: { latencyUs: 50_000, jitterUs: 20_000 },
    measure: async () => {
      const delays = await delaysOf(2_000, 2);
      return { "mean of 50 ± 20 ms": mean(delays), "standard deviation of 50 ± 20 ms": standardDeviation(delays) };
    },
  },
  { shape: { lossPercent: 30 }, measure: async () => ({ "share lost of 30 %": 100 - (await shareOf()) }) },
  { shape: { duplicatePercent: 30 }, measure: async () => ({ "share duplicated of 30 %": (await shareOf()) - 100 }) },
  { shape: { corruptPercent: 30 }, measure: async () => ({ "share corrupted of 30 %": 100 - (await shareOf()) }) },
  { shape: { rateBitsPerSecond: 8_000_000 }, measure: async () => ({ "Mbit/s at a rate of 8": await rateOf(1_500_000) }) },
  { shape: { bandwidth }, measure: async () => ({ "Mbit/s at a bandwidth of 16": await rateOf(3_000_000) }) },
];

async function figuresOf({ shape: own, measure }: Case, engine: Engine): Promise<Readonly<Record<string, number>>> {
  const fault = networkFault("uid/.", [rule({ peers: networks(`${RIGHT}/32`), effect: shape(own) })], { engine });
  const { faults } = await agent.apply([fault]);
  if (faults[0]?.state !== FaultState.ACTIVE) throw new Error(`${JSON.stringify(own)} by ${engine}: ${faults[0]?.message ?? "no report"}`);
  const figures = await measure();
  await agent.apply([]);
  await sleep(100);
  await hosts.right.traffic({ do: "take-arrivals" });
  return figures;
}

const medians: Record<string, EngineFigures> = {};
for (const each of cases) {
  const rounds: Readonly<Record<string, number>>[][] = [];
  for (let round = 0; round < ROUNDS; round++) {
    rounds.push([await figuresOf(each, Engine.NETEM), await figuresOf(each, Engine.NFQUEUE)]);
  }
  for (const name of Object.keys(rounds[0]?.[0] ?? {})) {
    const medianOf = (engine: number): number => median(rounds.map((round) => round[engine]?.[name] ?? Number.NaN));
    medians[name] = { netem: medianOf(0), nfqueue: medianOf(1) };
  }
}
await hosts.close();
writeSync(1, `${JSON.stringify(medians)}\n`);
process.exit(0);

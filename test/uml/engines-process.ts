import { writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { FaultState } from "../../proto/gen/agent.ts";
import { Engine, type Shape } from "../../proto/gen/faults.ts";
import { createTwoHosts, RIGHT } from "../netns/support/two-hosts.ts";
import { networkFault, networks, rule, shape } from "../support/network-faults.ts";
import type { EngineFigures } from "./engines.ts";

/** Runs in a kernel that has both engines: gives each the same faults and the same traffic, and prints one line of JSON with what came of it. */

const COUNT = 10_000;
const engines = { netem: Engine.NETEM, nfqueue: Engine.NFQUEUE } as const;
const mean = (numbers: readonly number[]): number => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
const deviation = (numbers: readonly number[]): number => {
  const middle = mean(numbers);
  return Math.sqrt(mean(numbers.map((number) => (number - middle) ** 2)));
};

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

/** The shape, and the figure of it that is compared. */
const cases: Readonly<Record<string, readonly [Partial<Shape>, () => Promise<number>]>> = {
  "mean of a delay of 50 ms": [{ latencyUs: 50_000 }, async () => mean(await delaysOf(400, 1))],
  "mean of 50 ± 20 ms": [{ latencyUs: 50_000, jitterUs: 20_000 }, async () => mean(await delaysOf(4_000, 2))],
  "standard deviation of 50 ± 20 ms": [{ latencyUs: 50_000, jitterUs: 20_000 }, async () => deviation(await delaysOf(4_000, 2))],
  "share lost of 30 %": [{ lossPercent: 30 }, async () => 100 - ((await delaysOf(COUNT, 5)).length / COUNT) * 100],
  "share duplicated of 30 %": [{ duplicatePercent: 30 }, async () => ((await delaysOf(COUNT, 5)).length / COUNT) * 100 - 100],
  "share corrupted of 30 %": [{ corruptPercent: 30 }, async () => 100 - ((await delaysOf(COUNT, 5)).length / COUNT) * 100],
  "Mbit/s at a rate of 8": [{ rateBitsPerSecond: 8_000_000 }, () => rateOf(3_000_000)],
  "Mbit/s at a bandwidth of 16": [
    {
      bandwidth: {
        rateBitsPerSecond: 16_000_000,
        limitBytes: 200_000,
        bufferBytes: 20_000,
        peakRateBitsPerSecond: 0,
        minBurstBytes: 0,
      },
    },
    () => rateOf(6_000_000),
  ],
};

const figures: Record<string, EngineFigures> = {};
for (const [name, [own, measure]] of Object.entries(cases)) {
  const measured = { netem: Number.NaN, nfqueue: Number.NaN };
  for (const engine of ["netem", "nfqueue"] as const) {
    const fault = networkFault("uid/.", [rule({ peers: networks(`${RIGHT}/32`), effect: shape(own) })], { engine: engines[engine] });
    const { faults } = await agent.apply([fault]);
    if (faults[0]?.state !== FaultState.ACTIVE) throw new Error(`${name} by ${engine}: ${faults[0]?.message ?? "no report"}`);
    measured[engine] = await measure();
    await agent.apply([]);
    await sleep(100);
    await hosts.right.traffic({ do: "take-arrivals" });
  }
  figures[name] = measured;
}
await hosts.close();
writeSync(1, `${JSON.stringify(figures)}\n`);
process.exit(0);

import { engineRules } from "../test/support/engine-rules.ts";
import { createTwoHosts, RIGHT, type EngineHandle, type TwoHosts } from "../test/netns/support/two-hosts.ts";
import { median, standardDeviation } from "../test/support/statistics.ts";
import type { BenchResult } from "./result.ts";

const ROUNDS = 3;
const PROBES = 200;
const TCP_BYTES = 200_000_000;

/** How exact the network engine's delay is, and what it does to TCP: medians of three rounds on two namespaces and a veth pair. */
export async function run(): Promise<BenchResult> {
  const hosts = await createTwoHosts();
  try {
    const udpPort = (await hosts.right.traffic({ do: "listen-udp" })).port ?? 0;
    const tcpPort = (await hosts.right.traffic({ do: "listen-tcp" })).port ?? 0;
    const engine = await hosts.startEngine();
    const probes: number[][] = [];
    const speeds = new Map<string, number[]>();
    for (let round = 0; round < ROUNDS; round++) {
      note(speeds, "no queue", await measureTcp(hosts, tcpPort));
      await hosts.queueOn();
      for (const ms of [0, 10, 50]) {
        await setDelay(engine, ms);
        note(speeds, `${ms} ms`, await measureTcp(hosts, tcpPort));
      }
      probes.push(await measureDelay(hosts, udpPort));
      await hosts.queueOff();
    }
    const { overflow, refused } = await engine.totals();
    await engine.ask({ do: "close" });
    const speed = (name: string): number => median(speeds.get(name) ?? []);
    return {
      title: "Network engine (NFQUEUE, user space)",
      rows: [
        { name: "delay 50 ms: median", value: median(probes.map(median)), unit: "ms", goal: "50 to 51" },
        { name: "delay 50 ms: standard deviation", value: median(probes.map(standardDeviation)), unit: "ms", goal: "≤ 0.5" },
        ...[...speeds.keys()].map((name) => ({
          name: `TCP, ${name}`,
          value: speed(name) / 1000,
          unit: "Gbit/s",
          goal: name === "10 ms" ? "≥ 0.8" : undefined,
        })),
        ...["0 ms", "10 ms", "50 ms"].map((name) => ({
          name: `TCP, ${name} against no queue`,
          value: speed(name) / speed("no queue"),
          unit: "×",
        })),
        { name: "packets passed undelayed or refused", value: overflow + refused, unit: "", goal: "0" },
      ],
      notes: ["At 50 ms one connection is bound by the kernel's default windows (some 3 MB in flight), not by the engine."],
    };
  } finally {
    await hosts.close();
  }
}

function note(speeds: Map<string, number[]>, name: string, mbits: number): void {
  speeds.set(name, [...(speeds.get(name) ?? []), mbits]);
}

async function setDelay(engine: EngineHandle, ms: number): Promise<void> {
  await engine.ask({ do: "set-rules", rules: engineRules([{ id: "bench", latencyUs: ms * 1000 }]) });
}

async function measureTcp(hosts: TwoHosts, port: number): Promise<number> {
  const { seconds = Number.NaN, sentHash, readHash } = await hosts.left.traffic({ do: "send-tcp", to: RIGHT, port, bytes: TCP_BYTES });
  if (sentHash !== readHash) throw new Error("TCP arrived damaged.");
  return (TCP_BYTES * 8) / seconds / 1e6;
}

async function measureDelay(hosts: TwoHosts, port: number): Promise<number[]> {
  await hosts.left.traffic({ do: "send-udp", to: RIGHT, port, count: PROBES, bytes: 100, gapMs: 5, burst: 1, sockets: 1 });
  await new Promise((resolve) => setTimeout(resolve, 200));
  return ((await hosts.right.traffic({ do: "take-arrivals" })).arrivals ?? []).map(({ delayMs }) => delayMs);
}

import { globSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../common/clock.ts";
import { openPrecedence } from "../daemon/time/precedence.ts";
import { openPtrace } from "../daemon/time/ptrace.ts";
import type { Skew } from "../daemon/time/skew-table.ts";
import { createSkewer, openSkewerParts, type Skewer } from "../daemon/time/skewer.ts";
import { createStopper } from "../daemon/time/stop-process.ts";
import { type NativePrograms, openNativePrograms } from "../test/node/support/native-programs.ts";
import { startTarget, type TargetProgram } from "../test/node/support/target-program.ts";
import { median } from "../test/support/statistics.ts";
import type { BenchResult, BenchRow } from "./result.ts";

const OFFSET_NS = -3_600_500_000_001n;
const COST_ROUNDS = 5;
const STOPS: readonly { readonly threads: number; readonly pauseUs: number; readonly rounds: number; readonly goalMs: number }[] = [
  { threads: 1, pauseUs: 0, rounds: 100, goalMs: 50 },
  { threads: 50, pauseUs: 0, rounds: 50, goalMs: 50 },
  { threads: 50, pauseUs: 50_000, rounds: 50, goalMs: 50 },
  { threads: 500, pauseUs: 0, rounds: 15, goalMs: 1_000 },
  { threads: 500, pauseUs: 200_000, rounds: 15, goalMs: 1_000 },
];
const VALUES = 1_000_000_000;
/** Clocks that the cost of ours is given for; the others are native then. */
const SKEWED = [0, 1, 5];
const FAKETIME = globSync("/usr/lib/*/faketime/libfaketime.so.1")[0];

/** How long processes stand still for a patch, what a call costs then, and whether every value is right while clocks go on and off. */
export async function run(): Promise<BenchResult> {
  const programs = openNativePrograms();
  try {
    const stops: BenchRow[] = [];
    for (const each of STOPS) stops.push(...(await measureStops(programs, each)));
    return {
      title: "Clocks of running processes (vDSO)",
      rows: [...stops, ...(await measureCosts(programs)), ...(await checkValues(programs))],
      notes: [
        "Busy threads read clocks all the time; idle ones sleep between reads. A stop is the time from the first thread's halt to the last one's release.",
        ...(FAKETIME === undefined ? ["libfaketime is not installed (Debian package libfaketime): left out."] : []),
      ],
    };
  } finally {
    programs.close();
  }
}

const skewOf = (clocks: readonly number[]): Skew => ({
  offsetsNs: new Map(clocks.map((clock) => [clock, OFFSET_NS])),
  untilMs: systemClock.monotonicMs() + 600_000,
});

function build(programs: NativePrograms, name: string): string {
  const path = programs.build(name, `${name}.c`, ["gcc", "-O2"]);
  if (path === undefined) throw new Error("This bench needs gcc.");
  return path;
}

/** A skewer that notes how long each stop took. What we do without precedence happens when everybody runs again. */
function timedSkewer(): { readonly skewer: Skewer; readonly stopsMs: number[] } {
  const stopsMs: number[] = [];
  const takePrecedence = openPrecedence();
  const stopper = createStopper(openPtrace(), () => {
    const giveBack = takePrecedence();
    const startedMs = performance.now();
    return () => {
      stopsMs.push(performance.now() - startedMs);
      giveBack();
    };
  });
  return { skewer: createSkewer({ ...openSkewerParts(), stopper }), stopsMs };
}

async function startLoad(programs: NativePrograms, threads: number, pauseUs: number): Promise<TargetProgram> {
  const load = await startTarget([build(programs, "clock-load"), String(threads), String(OFFSET_NS), "0", String(pauseUs)]);
  await load.hear();
  await sleep(300);
  return load;
}

async function measureStops(
  programs: NativePrograms,
  { threads, pauseUs, rounds, goalMs }: (typeof STOPS)[number],
): Promise<readonly BenchRow[]> {
  const load = await startLoad(programs, threads, pauseUs);
  const found: Record<"on" | "off", number[]> = { on: [], off: [] };
  try {
    for (let round = 0; round < rounds; round++) {
      const { skewer, stopsMs } = timedSkewer();
      await skewer.apply([load.identity], skewOf([0]));
      found.on.push(...stopsMs.splice(0));
      await sleep(5);
      await skewer.undo([load.identity]);
      found.off.push(...stopsMs);
      await sleep(20);
    }
  } finally {
    await load.close();
  }
  const name = `${threads} ${pauseUs === 0 ? "busy" : "idle"} thread${threads === 1 ? "" : "s"}`;
  return (["on", "off"] as const).flatMap((way) => [
    { name: `stop, ${name}, ${way}: median`, value: median(found[way]), unit: "ms", goal: `≤ ${goalMs}` },
    { name: `stop, ${name}, ${way}: max`, value: Math.max(...found[way]), unit: "ms" },
  ]);
}

type Costs = Readonly<Record<string, number>>;

async function measureCosts(programs: NativePrograms): Promise<readonly BenchRow[]> {
  const cost = build(programs, "clock-cost");
  const { skewer } = timedSkewer();
  const ways: Readonly<Record<string, TargetProgram>> = {
    native: await startTarget([cost]),
    ours: await startTarget([cost]),
    "ours, other clocks": await startTarget([cost]),
    ...(FAKETIME && { libfaketime: await startTarget(["env", `LD_PRELOAD=${FAKETIME}`, "FAKETIME=-1h", cost]) }),
  };
  try {
    const identities = (name: string): readonly TargetProgram["identity"][] => (ways[name] ? [ways[name].identity] : []);
    await skewer.apply(identities("ours"), skewOf(SKEWED));
    await skewer.apply(identities("ours, other clocks"), skewOf([9]));
    const rounds: Record<string, Costs[]> = {};
    for (let round = 0; round < COST_ROUNDS; round++)
      for (const [name, program] of Object.entries(ways)) (rounds[name] ??= []).push(JSON.parse(await program.ask("?")) as Costs);
    const calls = Object.keys(rounds["native"]?.[0] ?? {});
    const nsOf = (name: string, call: string): number => median((rounds[name] ?? []).map((costs) => costs[call] ?? Number.NaN));
    return calls.flatMap((call) => [
      { name: `${call}, native`, value: nsOf("native", call), unit: "ns" },
      ...Object.keys(ways)
        .filter((name) => name !== "native" && call !== "system call")
        .map((name) => ({
          name: `${call}, ${name} against native`,
          value: nsOf(name, call) / nsOf("native", call),
          unit: "×",
          goal: name === "ours" && ["REALTIME", "MONOTONIC"].includes(call) ? "≤ 1.3" : undefined,
        })),
    ]);
  } finally {
    await Promise.all(Object.values(ways).map((program) => program.close()));
  }
}

/** On and off under load until so many values were compared with the kernel's own clock. */
async function checkValues(programs: NativePrograms): Promise<readonly BenchRow[]> {
  const { skewer } = timedSkewer();
  const sums = { native: 0, skewed: 0, wrong: 0, changes: 0 };
  while (sums.native + sums.skewed < VALUES) {
    const load = await startLoad(programs, 4, 0);
    try {
      const endMs = systemClock.monotonicMs() + 10_000;
      for (; systemClock.monotonicMs() < endMs; sums.changes += 2) {
        await skewer.apply([load.identity], skewOf([0]));
        await sleep(5);
        await skewer.undo([load.identity]);
      }
      load.kill("SIGTERM");
      const { native, skewed, wrong } = JSON.parse(await load.hear()) as Record<"native" | "skewed" | "wrong", number>;
      sums.native += native;
      sums.skewed += skewed;
      sums.wrong += wrong;
    } finally {
      await load.close();
    }
  }
  return [
    { name: "values checked", value: sums.native + sums.skewed, unit: "" },
    { name: "of these skewed", value: sums.skewed, unit: "" },
    { name: "wrong values", value: sums.wrong, unit: "", goal: "0" },
    { name: "times on and off meanwhile", value: sums.changes, unit: "" },
  ];
}

import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Arena, inParallel, startArena } from "./arena.ts";
import { type People, startPeople } from "./experiments.ts";
import { quantile, slopePerThousand } from "./trend.ts";
import type { Usage } from "./usage.ts";

/**
 * `npm run soak [-- --cycles N --experiments N --agents N]`: very many experiments at a time on simulated sidecars with the real protocol and
 * certificates, through the controller as it ships and a real API server. In each cycle one is deleted and another takes its pod. The
 * controller must not grow, and nothing may be left. Exits with 1 when that is not so.
 */
const count = (text: string): number => {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  process.stderr.write(`${JSON.stringify(text)} is no whole number above 0. Write one such as --cycles 1000.\n`);
  process.exit(2);
};
const { values } = parseArgs({
  options: {
    cycles: { type: "string", default: "10000" },
    experiments: { type: "string", default: "1000" },
    agents: { type: "string", default: "1000" },
  },
});
const [cycles, experiments, agents] = [count(values.cycles), count(values.experiments), count(values.agents)];
/** Experiments that change at a time. */
const AT_ONCE = 8;
const SAMPLES = 10;
/** Descriptors and timers that come and go: connections to the API server among them. */
const SPREAD = 20;
/** What the first fifth of a run takes is kept for the rest of it. */
const WARM_UP = 0.2;

const say = (line: string): void => void process.stdout.write(`${line}\n`);
interface Cycle {
  readonly applyMs: number;
  readonly removeMs: number;
}

async function soak(arena: Arena, people: People): Promise<readonly string[]> {
  const idle = await arena.controller.usage();
  const idleTimers = await arena.controller.timers();
  const names = Array.from({ length: experiments }, (_, index) => `cut-${index}`);
  say(`Creating ${experiments} experiments.`);
  await inParallel(experiments, (index) => people.apply(names[index] ?? "", index % agents), AT_ONCE);
  const wanted = Math.min(experiments, agents);
  const { inForce } = await arena.agents.state();
  const troubles: string[] = inForce === wanted ? [] : [`A fault is in force on ${inForce} agents instead of ${wanted}.`];

  const done: Cycle[] = [];
  const samples: { readonly cycle: number; readonly usage: Usage }[] = [{ cycle: 0, usage: await arena.controller.usage() }];
  const cpu = { controller: 0, agents: 0, apiServer: 0 };
  const begunMs = performance.now();
  for (let sample = 1; sample <= SAMPLES; sample++) {
    const [from, to] = [Math.round(((sample - 1) * cycles) / SAMPLES), Math.round((sample * cycles) / SAMPLES)];
    const before = arena.cpuMs();
    const batch = await inParallel(
      to - from,
      async (offset): Promise<Cycle> => {
        const cycle = from + offset;
        const place = cycle % experiments;
        const removeMs = await people.remove(names[place] ?? "");
        const name = `cut-${experiments + cycle}`;
        names[place] = name;
        return { removeMs, applyMs: await people.apply(name, place % agents) };
      },
      AT_ONCE,
    );
    done.push(...batch);
    const after = arena.cpuMs();
    for (const part of ["controller", "agents", "apiServer"] as const) cpu[part] += after[part] - before[part];
    const usage = await arena.controller.usage();
    samples.push({ cycle: to, usage });
    say(
      `${to} cycles, ${((performance.now() - begunMs) / 1000).toFixed(0)} s: ${describeUsage(usage)}; p50 ${describe(batch, 0.5)}, p99 ${describe(batch, 0.99)}`,
    );
  }
  const perCycle = (part: keyof typeof cpu): string => `${(cpu[part] / cycles).toFixed(1)} ms`;
  say(
    `CPU for each cycle: controller ${perCycle("controller")}, agents ${perCycle("agents")}, API server and etcd ${perCycle("apiServer")}`,
  );

  const { inForce: inForceAtEnd } = await arena.agents.state();
  if (inForceAtEnd !== wanted) troubles.push(`After the cycles a fault is in force on ${inForceAtEnd} agents instead of ${wanted}.`);
  say(`Deleting ${experiments} experiments.`);
  await inParallel(experiments, (index) => people.remove(names[index] ?? ""), AT_ONCE);
  const { touched } = await arena.agents.state();
  // gRPC looks after its connections every 10 s, and lets go of what is closed then
  await sleep(15_000);
  const end = await arena.controller.usage();
  const endTimers = await arena.controller.timers();
  say(`controller before the first experiment: ${describeUsage(idle)}, ${idleTimers} timers`);
  say(`controller after the last one: ${describeUsage(end)}, ${endTimers} timers`);

  const settled = samples.filter(({ cycle }) => cycle >= WARM_UP * cycles);
  const slope = (key: keyof Usage): number => slopePerThousand(settled.map(({ cycle, usage }) => ({ cycle, value: usage[key] })));
  say(
    `growth in 1,000 cycles: heap ${slope("heapMb").toFixed(2)} MB, RSS ${slope("rssMb").toFixed(2)} MB (goal 1 MB), descriptors ${slope("descriptors").toFixed(2)}`,
  );
  const quarter = Math.ceil(done.length / 4);
  const [early, late] = [done.slice(0, quarter), done.slice(-quarter)];
  say(`p99 of the first quarter ${describe(early, 0.99)}, of the last ${describe(late, 0.99)}`);
  say(`left: ${people.count} experiments, something of ours on ${touched} agents`);

  const grown = (key: keyof Usage): number => (settled.at(-1)?.usage[key] ?? 0) - (settled[0]?.usage[key] ?? 0);
  for (const key of ["heapMb", "rssMb"] as const)
    if (slope(key) > 1 && grown(key) > 10) troubles.push(`${key} grows by ${slope(key).toFixed(2)} in 1,000 cycles.`);
  if (grown("descriptors") > SPREAD || end.descriptors > idle.descriptors + SPREAD)
    troubles.push(`Descriptors grew: ${idle.descriptors}, ${settled[0]?.usage.descriptors}, ${end.descriptors}.`);
  if (endTimers > idleTimers + SPREAD) troubles.push(`Timers grew: ${idleTimers}, ${endTimers}.`);
  if (touched > 0 || people.count > 0) troubles.push("Something is left behind.");
  const unconfirmed = /^squall_recoveries_unconfirmed_total (\d+)$/m.exec(await arena.controller.metrics())?.[1];
  if (unconfirmed !== "0") troubles.push(`${unconfirmed ?? "An unknown number of"} recoveries were not confirmed.`);
  return troubles;
}

const describeUsage = ({ heapMb, rssMb, descriptors }: Usage): string => `heap ${heapMb} MB, RSS ${rssMb} MB, ${descriptors} descriptors`;
const describe = (some: readonly Cycle[], share: number): string =>
  (["applyMs", "removeMs"] as const)
    .map((key) =>
      quantile(
        some.map((cycle) => cycle[key]),
        share,
      ).toFixed(0),
    )
    .join(" and ") + " ms";

const arena = await startArena({ pods: agents, labelsOf: (index) => ({ n: String(index) }), say });
let troubles: readonly string[] = [];
try {
  const people = await startPeople(arena);
  try {
    troubles = await soak(arena, people);
  } catch (error) {
    troubles = [error instanceof Error ? error.message : String(error)];
  } finally {
    await people.close();
  }
  if (troubles.length > 0) say(arena.controller.lastWords());
} finally {
  await arena.close();
}
for (const trouble of troubles) say(trouble);
process.exit(troubles.length === 0 ? 0 : 1);

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { writeBundles } from "../lab/bundles.ts";
import { ensureFilePackages, ensureFileProgram } from "../test/files/support/file-programs.ts";
import { openStage, type Stage, type Way, watchAll } from "../test/files/support/stage.ts";
import { Volume } from "../test/files/support/volume.ts";
import { readCpuMs } from "../test/support/process-cpu.ts";
import { median } from "../test/support/statistics.ts";
import { dataWorks, diskWorks, type FileWorks, nameWorks, openCheckout } from "./file-works.ts";
import type { BenchResult, BenchRow } from "./result.ts";

const ROUNDS = 3;
const SETTLE_MS = 10_000;
const IDLE_MS = 30_000;
const MEMORY = "/dev/shm";
const DISK = "/var/tmp";

/** Where client and server run. The scheduler's choice decides more than either's code. */
const placements: Readonly<Record<string, string | undefined>> = { "same CPU": "0", "any CPU": undefined };

type Ways = Readonly<Record<string, Way>>;

/** What is compared: works, on a file system, between ways of having it served. `goals` are of ours against another, by `WORK / WAY / PLACEMENT`. */
interface Comparison {
  readonly under: string;
  readonly works: FileWorks;
  readonly ways: Ways;
  readonly ours: string;
  readonly goals: Readonly<Record<string, string>>;
}

/** A volume behind FUSE against the plain folder, bindfs, and libfuse's example in C. */
export async function run(): Promise<BenchResult> {
  await ensureFilePackages(["fio", "bindfs", "sqlite3", "git", "util-linux"]);
  const peers = peersOf(await ensureFileProgram("passthrough_ll"));
  const checkout = await openCheckout();
  try {
    const rows: BenchRow[] = [];
    for (const [placed, cpu] of Object.entries(placements))
      for (const comparison of comparisonsOf(peers, { ...nameWorks, ...checkout.works }))
        rows.push(...(await compare(comparison, placed, cpu)));
    return {
      title: "Files of a served volume",
      rows: [...rows, ...(await measureIdle())],
      notes: [
        `Operations in a second, medians of ${ROUNDS} rounds in which all ways take turns; ratios of ours to another are of one round each: min, median, max.`,
        "Direct: a rule may hit reads and writes, so that each of them comes to the server; the others are told to keep nothing as well.",
      ],
    };
  } finally {
    checkout.close();
  }
}

function peersOf(passthrough: string): { readonly cached: Ways; readonly direct: Ways } {
  const libfuse = (options: string, ...more: readonly string[]): Way => ({
    by: "program",
    argv: (plain, path) => [passthrough, "-f", ...more, "-o", `source=${plain},allow_other,default_permissions,${options}`, path],
  });
  const bindfs = (...more: readonly string[]): Way => ({ by: "program", argv: (plain, path) => ["bindfs", "-f", ...more, plain, path] });
  return {
    cached: {
      "the plain folder": { by: "nobody" },
      "bindfs, one thread": bindfs(),
      "bindfs, many threads": bindfs("--multithreaded"),
      "libfuse in C, one thread": libfuse("cache=auto", "-s"),
      "libfuse in C, many threads": libfuse("cache=auto"),
      ours: { by: "squall" },
    },
    direct: {
      "libfuse in C, direct, one thread": libfuse("cache=never", "-s"),
      "libfuse in C, direct, many threads": libfuse("cache=never"),
      "ours, direct": { by: "squall", rules: watchAll },
    },
  };
}

function comparisonsOf({ cached, direct }: ReturnType<typeof peersOf>, names: FileWorks): readonly Comparison[] {
  const small = (work: string): Readonly<Record<string, string>> => ({
    [`${work} / libfuse in C, one thread / same CPU`]: "≥ 0.75",
    [`${work} / libfuse in C, direct, one thread / same CPU`]: "≥ 0.75",
    [`${work} / bindfs, one thread / same CPU`]: "≥ 1.2",
    [`${work} / bindfs, one thread / any CPU`]: "≥ 2.5",
    [`${work} / bindfs, many threads / any CPU`]: "≥ 1.3",
  });
  const large = (work: string): Readonly<Record<string, string>> => ({ [`${work} / the plain folder / any CPU`]: "≥ 0.6" });
  const metadata = (work: string): Readonly<Record<string, string>> => ({
    [`${work} / bindfs, one thread / any CPU`]: "≥ 2",
    [`${work} / bindfs, many threads / any CPU`]: "≥ 2",
  });
  const goals = {
    ...small("write 4 KiB"),
    ...small("read 4 KiB"),
    ...large("write 1 MiB"),
    ...large("read 1 MiB"),
    ...metadata("stat"),
    ...metadata("create, write, close"),
    ...metadata("git checkout"),
  };
  return [
    { under: MEMORY, works: { ...dataWorks, ...names }, ways: cached, ours: "ours", goals },
    { under: MEMORY, works: dataWorks, ways: direct, ours: "ours, direct", goals },
    { under: DISK, works: diskWorks, ways: cached, ours: "ours", goals },
  ];
}

async function compare(
  { under, works, ways, ours, goals }: Comparison,
  placed: string,
  cpu: string | undefined,
): Promise<readonly BenchRow[]> {
  const stages: Record<string, Stage> = {};
  const found: Record<string, Record<string, number[]>> = {};
  try {
    for (const [name, way] of Object.entries(ways))
      stages[name] = await openStage(cpu === undefined || way.by === "nobody" ? way : { ...way, cpu }, under);
    for (let round = 0; round < ROUNDS; round += 1)
      for (const [work, measure] of Object.entries(works))
        for (const [name, { path }] of Object.entries(stages)) ((found[work] ??= {})[name] ??= []).push(await measure(path, cpu));
  } finally {
    for (const stage of Object.values(stages)) await stage.close();
  }
  return Object.entries(found).flatMap(([work, byWay]) => [
    ...Object.entries(byWay).map(([name, values]) => ({ name: `${placed}: ${work}: ${name}`, value: median(values), unit: "/s" })),
    ...Object.entries(byWay)
      .filter(([name]) => name !== ours)
      .flatMap(([name, theirs]) =>
        ratioRows(`${placed}: ${work}: ${ours} against ${name}`, byWay[ours] ?? [], theirs, goals[`${work} / ${name} / ${placed}`]),
      ),
  ]);
}

function ratioRows(name: string, ours: readonly number[], theirs: readonly number[], goal: string | undefined): readonly BenchRow[] {
  const ratios = ours.map((value, round) => value / (theirs[round] ?? Number.NaN));
  return [
    { name: `${name}: min`, value: Math.min(...ratios), unit: "×" },
    { name: `${name}: median`, value: median(ratios), unit: "×", goal },
    { name: `${name}: max`, value: Math.max(...ratios), unit: "×" },
  ];
}

/** The server of a volume that nobody uses, as the image has it. */
async function measureIdle(): Promise<readonly BenchRow[]> {
  const folder = mkdtempSync(join(tmpdir(), "squall-bench-"));
  const bundles = join(folder, "squall");
  try {
    await writeBundles(bundles);
    const volume = await Volume.open(MEMORY, join(bundles, "sidecar.mjs"));
    try {
      await sleep(SETTLE_MS);
      const beforeMs = readCpuMs(volume.pid);
      await sleep(IDLE_MS);
      const cpuMs = readCpuMs(volume.pid) - beforeMs;
      const memory = (field: string): number =>
        Number(new RegExp(`^${field}:\\s+(\\d+)`, "m").exec(readFileSync(`/proc/${volume.pid}/smaps_rollup`, "utf8"))?.[1] ?? Number.NaN) /
        1000;
      return [
        { name: "idle server: resident memory", value: memory("Rss"), unit: "MB", goal: "≤ 70" },
        { name: "idle server: proportional share of memory", value: memory("Pss"), unit: "MB" },
        { name: "idle server: private memory", value: memory("Private_Dirty") + memory("Private_Clean"), unit: "MB" },
        { name: "idle server: processor", value: (cpuMs / IDLE_MS) * 100, unit: "% of one", goal: "0" },
      ];
    } finally {
      await volume.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

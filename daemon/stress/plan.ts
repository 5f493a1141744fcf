import { assertNever } from "../../common/assert-never.ts";
import { type Option, readArguments, renderOptions } from "./arguments.ts";
import { readMemoryOptions } from "./memory-size.ts";
import { stressors } from "./stressors.ts";
import type { CpuStress, MemoryStress, StressFault } from "./stress-fault.ts";

/** What a plan depends on besides the fault. */
export interface StressFacts {
  /** Of the container or what it is in; undefined for none. */
  readonly memoryLimitBytes: number | undefined;
  readonly nodeMemoryBytes: number;
  /** What the node can give without taking it from anybody. */
  readonly nodeAvailableBytes: number;
  /** How many the container may use. */
  readonly processors: number;
}

/** One stress-ng, as data. */
export type StressProcess =
  | { readonly what: "cpu"; readonly workers: number; readonly loadPercent: number; readonly options: readonly Option[] }
  | {
      readonly what: "memory";
      readonly workers: number;
      readonly workerBytes: number;
      /** Microseconds between the starts of two workers. */
      readonly stepUs: number;
      readonly oomScoreAdj: number;
      readonly options: readonly Option[];
    }
  | { readonly what: "arguments"; readonly options: readonly Option[] };

export type StressPlan =
  | { readonly is: "planned"; readonly processes: readonly StressProcess[] }
  /** Sentences for the user, all there are. */
  | { readonly is: "refused"; readonly problems: readonly string[]; readonly isTransient: boolean };

/** More than that take no more memory, only more processes. */
const MOST_MEMORY_WORKERS = 32;
const MOST_RAMP_STEPS = 20;
const LEAST_RAMP_STEP_BYTES = 2_500_000;
const PAGE_BYTES = 4096;
/** What stress-ng has besides the memory that it is told to take: once, and for each worker. Measured, see test/node/stress.test.ts. */
const OVERHEAD_BYTES = 4_500_000;
const WORKER_OVERHEAD_BYTES = 480_000;

/** Plans the processes that stress a container, or says why it cannot be stressed so. */
export function planStress(fault: StressFault, facts: StressFacts): StressPlan {
  if (fault.stressngArguments.trim() !== "") return planArguments(fault.stressngArguments, facts);
  const parts: readonly Part[] = [
    ...(fault.cpu === undefined || fault.cpu.workers === 0 ? [] : [planCpu(fault.cpu, facts)]),
    ...(fault.memory === undefined || fault.memory.workers <= 0 ? [] : [planMemory(fault.memory, facts)]),
  ];
  if (parts.length === 0) return refused(["Nothing is stressed: neither cpu nor memory has workers. Write one such as workers: 1."]);
  const problems = parts.flatMap((part) => part.problems);
  if (problems.length > 0)
    return { is: "refused", problems, isTransient: parts.every((part) => part.problems.length === 0 || part.isTransient) };
  return { is: "planned", processes: parts.flatMap(({ process }) => (process === undefined ? [] : [process])) };
}

interface Part {
  readonly process?: StressProcess;
  readonly problems: readonly string[];
  readonly isTransient?: boolean;
}

const refused = (problems: readonly string[], { isTransient = false } = {}): StressPlan => ({ is: "refused", problems, isTransient });

function planCpu({ workers, loadPercent, options }: CpuStress, { processors }: StressFacts): Part {
  const read = readArguments(options, { of: "cpu" });
  const problems = [
    ...problemWithCount("cpu.workers", workers),
    ...(Number.isInteger(loadPercent) && loadPercent >= 1 && loadPercent <= 100
      ? []
      : [`cpu.load is ${loadPercent}. Write a whole number of percent from 1 to 100.`]),
    ...read.problems.map((problem) => `cpu.options: ${problem}`),
  ];
  if (problems.length > 0) return { problems };
  return { problems, process: { what: "cpu", workers: workers < 0 ? processors : workers, loadPercent, options: read.options } };
}

function planMemory(written: MemoryStress, facts: StressFacts): Part {
  const { memory, problems: oddOptions } = readMemoryOptions(written);
  const { size, rampMs, oomScoreAdj } = memory;
  const read = readArguments(memory.options, { of: "vm" });
  const problems = [
    ...problemWithCount("memory.workers", memory.workers),
    ...(Number.isInteger(oomScoreAdj) && Math.abs(oomScoreAdj) <= 1000
      ? []
      : [`memory.oomScoreAdj is ${oomScoreAdj}. Write a whole number from -1000 to 1000.`]),
    ...(Number.isFinite(rampMs) && rampMs >= 0 ? [] : [`The ramp of memory is ${rampMs} ms. Write --time and a duration such as "10s".`]),
    ...[...oddOptions, ...read.problems].map((problem) => `memory.options: ${problem}`),
    ...problemWithSize(size),
  ];
  if (problems.length > 0 || size === undefined) return { problems };
  const totalBytes =
    "bytes" in size ? Math.round(size.bytes) : Math.round((size.percent / 100) * (facts.memoryLimitBytes ?? facts.nodeMemoryBytes));
  const isBeyondNode = facts.memoryLimitBytes === undefined && totalBytes > facts.nodeAvailableBytes;
  if (isBeyondNode) return { problems: [beyondNode("memory.size", totalBytes, facts)], isTransient: true };
  return { problems, process: { what: "memory", ...divide(totalBytes, memory), oomScoreAdj, options: read.options } };
}

/** With a ramp, workers are so many that they can be started one after the other in small steps. */
function divide(
  totalBytes: number,
  { workers, rampMs }: MemoryStress,
): { readonly workers: number; readonly workerBytes: number; readonly stepUs: number } {
  const steps = rampMs > 0 ? Math.min(Math.floor(totalBytes / LEAST_RAMP_STEP_BYTES), MOST_RAMP_STEPS) : 1;
  const count = Math.max(Math.min(workers, MOST_MEMORY_WORKERS), steps, 1);
  const takenBytes = totalBytes - OVERHEAD_BYTES - count * WORKER_OVERHEAD_BYTES;
  const pages = Math.max(Math.round(takenBytes / count / PAGE_BYTES), 1);
  return { workers: count, workerBytes: pages * PAGE_BYTES, stepUs: Math.round((rampMs * 1000) / count) };
}

function problemWithCount(field: string, count: number): readonly string[] {
  return Number.isInteger(count) && count <= 8192 ? [] : [`${field} is ${count}. Write a whole number up to 8192.`];
}

function problemWithSize(size: MemoryStress["size"]): readonly string[] {
  if (size === undefined) return ['memory.size is missing. Write a size such as "256MB", or a share such as "25%".'];
  if ("bytes" in size)
    return Number.isFinite(size.bytes) && size.bytes > 0 ? [] : [`memory.size is ${size.bytes} bytes. Write a size such as "256MB".`];
  return size.percent > 0 && size.percent <= 100 ? [] : [`memory.size is ${size.percent} %. Write a share from 1% to 100%.`];
}

const beyondNode = (what: string, bytes: number, { nodeAvailableBytes }: StressFacts): string =>
  `${what}: the container has no memory limit, and ${inMegabytes(bytes)} are more than the ${inMegabytes(nodeAvailableBytes)} that the node has left: ` +
  "the kernel would kill processes of others. Write less, or give the container a limit.";

const inMegabytes = (bytes: number): string => `${Math.round(bytes / 1e6).toLocaleString("en-US")} MB`;

function planArguments(text: string, facts: StressFacts): StressPlan {
  const { options, problems: odd } = readArguments([text]);
  const problems = odd.map((problem) => `stressngStressors: ${problem}`);
  if (problems.length > 0) return refused(problems);
  if (!options.some(({ name }) => Object.hasOwn(stressors, name)))
    return refused(["stressngStressors starts no stressor. Write one such as --cpu 1."]);
  const excess = facts.memoryLimitBytes === undefined ? findExcess(options, facts) : [];
  return excess.length > 0 ? refused(excess) : { is: "planned", processes: [{ what: "arguments", options }] };
}

/** What may take more memory than the node has, in a container without a limit. */
function findExcess(options: readonly Option[], facts: StressFacts): readonly string[] {
  return Object.entries(stressors).flatMap(([name, { bytes, isUnbounded }]) => {
    const workers = options.findLast((option) => option.name === name)?.value;
    if (workers === undefined) return [];
    if (isUnbounded === true)
      return [`stressngStressors: --${name} takes memory without end, and the container has no memory limit. Give it one, or use --vm.`];
    const value = bytes === undefined ? undefined : options.findLast((option) => option.name === `${name}-${bytes.option}`)?.value;
    if (bytes === undefined || value === undefined) return [];
    const totalBytes =
      parseStressngBytes(value, facts.nodeAvailableBytes) * (bytes.of === "each" ? Math.max(Number(workers), facts.processors) : 1);
    return totalBytes <= facts.nodeAvailableBytes ? [] : [beyondNode(`stressngStressors: --${name}-${bytes.option}`, totalBytes, facts)];
  });
}

const POWERS: Readonly<Record<string, number>> = { b: 0, k: 1, m: 2, g: 3, t: 4, p: 5, e: 6 };

/** What stress-ng cannot read, it refuses itself; until then it counts as endless. */
function parseStressngBytes(text: string, availableBytes: number): number {
  const [, amount, unit = "b"] = /^(\d+(?:\.\d+)?)([a-z%]?)$/.exec(text.toLowerCase()) ?? [];
  if (unit === "%") return (Number(amount) / 100) * availableBytes;
  return Number(amount) * 1024 ** (POWERS[unit || "b"] ?? Number.POSITIVE_INFINITY);
}

export interface StressRun {
  /** How many of the process' workers to start. */
  readonly workers: number;
  /** Seconds after which stress-ng ends by itself. */
  readonly lastsSeconds: number;
  /** A folder that workers may write to. They do not, and stress-ng insists. */
  readonly scratchFolder: string;
  /** Start with a ramp; not for workers that replace others. */
  readonly withRamp: boolean;
}

/** The arguments of stress-ng for a process, without `--keep-name`, which starts it (see launch.ts). */
export function renderArguments(process: StressProcess, { workers, lastsSeconds, scratchFolder, withRamp }: StressRun): readonly string[] {
  const options = renderOptions(process.options);
  const common = ["--oomable", "--no-oom-adjust", "--temp-path", scratchFolder, "--timeout", String(lastsSeconds)];
  switch (process.what) {
    case "cpu":
      return [
        ...common,
        ...["--cpu-load-slice", "10", "--cpu-method", "sqrt", "--cpu", String(workers), "--cpu-load", String(process.loadPercent)],
        ...options,
      ];
    case "memory":
      return [
        ...common,
        // Memory is touched once and then held: nobody asked for processor time.
        ...["--vm-keep", "--vm-hang", "0", "--vm-method", "write64", "--vm", String(workers)],
        ...["--vm-bytes", String(workers * process.workerBytes)],
        ...(withRamp && process.stepUs > 0 ? ["--backoff", String(process.stepUs)] : []),
        ...options,
      ];
    case "arguments":
      return [...common, ...options];
    default:
      return assertNever(process);
  }
}

/** How many workers a process is to have; undefined where only stress-ng knows. */
export const workersOf = (process: StressProcess): number | undefined => (process.what === "arguments" ? undefined : process.workers);

import { setTimeout as sleep } from "node:timers/promises";
import type { Clock } from "../../common/clock.ts";
import { parentOf } from "../cgroup/cgroup.ts";
import { readOomKills } from "../cgroup/usage.ts";
import { readStartTicks } from "../process.ts";
import type { Crew } from "./crew.ts";
import { type StressProcess, workersOf } from "./plan.ts";
import type { StressTarget } from "./target.ts";

const LOOK_EVERY_MS = 250;
/** How long stress-ng may take to say that it does not like its arguments. */
const WORK_TIMEOUT_MS = 3000;
/** Without an end, workers end after that long all the same, and others take their place. */
const LONGEST_MS = 86_400_000;
/** As sysconf(_SC_CLK_TCK) is on every architecture of Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

export interface StressEnd {
  readonly why: "stopped" | "deadline" | "target-gone" | "finished";
  /** One sentence. */
  readonly message: string;
}

export interface StressReceipt {
  readonly workers: number;
  /** Undefined where only stress-ng knows. */
  readonly workersWanted: number | undefined;
  readonly cpuSeconds: number;
  /** Processes of the container that the kernel killed since then for want of memory, the container's own included. */
  readonly oomKills: number;
  /** Workers that were started in place of others. */
  readonly restarts: number;
  /** What is to be known besides; undefined for nothing. */
  readonly message: string | undefined;
}

export interface RunningStressOptions {
  readonly target: StressTarget;
  readonly processes: readonly StressProcess[];
  /** One for each process. */
  readonly crews: readonly Crew[];
  readonly untilMs: number | undefined;
  readonly clock: Clock;
}

/**
 * A container under stress: its workers are replaced when they end, at most once a second, and all end at the deadline or with the container's
 * first process.
 */
export class RunningStress {
  readonly processes: readonly StressProcess[];
  /** Resolves when no process of it is left; rejects when some cannot be ended. */
  readonly ended: Promise<StressEnd>;
  readonly #options: RunningStressOptions;
  readonly #end: (end: Promise<StressEnd>) => void;
  #ending: Promise<StressEnd> | undefined;
  #looking: Promise<unknown> = Promise.resolve();
  #cancelLook: () => void = () => undefined;
  #oom = { before: 0, beforeAbove: 0, since: 0 };
  #roll: readonly { readonly workers: number; readonly cpuTicks: number }[] = [];
  #trouble: string | undefined;

  constructor(options: RunningStressOptions) {
    this.#options = options;
    this.processes = options.processes;
    const { promise, resolve } = Promise.withResolvers<StressEnd>();
    this.ended = promise;
    promise.catch(() => undefined); // whoever stops it hears of it, too
    this.#end = resolve;
  }

  /** Call once. Resolves with why it does not run, after all is ended again; throws StressorError likewise. */
  async start(): Promise<string | undefined> {
    const { target, crews, clock } = this.#options;
    const above = await readOomKills(parentOf(target.cgroup));
    this.#oom = { before: (await readOomKills(target.cgroup)) ?? 0, beforeAbove: above ?? 0, since: 0 };
    try {
      for (const crew of crews) await crew.start({ nowMs: clock.monotonicMs(), remainingMs: this.#remainingMs() });
      for (const crew of crews) await untilAtWork(crew);
      await this.#countOomKills();
      const idle = crews.find((crew) => !crew.isRunning);
      if (idle !== undefined && this.#oom.since === 0) {
        await this.stop();
        return `stress-ng ended at once: ${idle.output}`;
      }
      this.#roll = await Promise.all(crews.map((crew) => crew.call()));
    } catch (error) {
      await this.stop();
      throw error;
    }
    this.#lookLater();
    return undefined;
  }

  /** As of the last look, at most 250 ms ago. */
  get receipt(): StressReceipt {
    const restarts = this.#options.crews.reduce((sum, crew) => sum + crew.restarts, 0);
    const wanted = this.processes.map(workersOf);
    return {
      workers: this.#roll.reduce((sum, { workers }) => sum + workers, 0),
      workersWanted: wanted.reduce((sum, one) => (sum === undefined || one === undefined ? undefined : sum + one), 0),
      cpuSeconds: this.#roll.reduce((sum, { cpuTicks }) => sum + cpuTicks, 0) / TICKS_PER_SECOND,
      oomKills: this.#oom.since,
      restarts,
      message: this.#trouble ?? explainOom(this.#oom.since),
    };
  }

  /** Resolves when all its processes have ended. Throws when some do not within 5 s; it may be called again then. */
  async stop(): Promise<void> {
    await this.#finish({ why: "stopped", message: "The stress was taken back." });
  }

  #remainingMs(): number {
    const { untilMs, clock } = this.#options;
    return untilMs === undefined ? LONGEST_MS : Math.min(untilMs - clock.monotonicMs(), LONGEST_MS);
  }

  #lookLater(): void {
    if (this.#ending !== undefined) return;
    this.#cancelLook = this.#options.clock.after(Math.max(Math.min(LOOK_EVERY_MS, this.#remainingMs()), 0), () => {
      const look = this.#look();
      this.#looking = look.catch(() => undefined); // it is told below
      look
        .then((end) => (end === undefined ? undefined : this.#finish(end)))
        .catch((error: unknown) => {
          this.#trouble = error instanceof Error ? error.message : String(error);
        })
        .finally(() => this.#lookLater());
    });
  }

  /** Counts, replaces who is missing, and resolves with the reason to end, if there is one. */
  async #look(): Promise<StressEnd | undefined> {
    const { target, crews, clock, untilMs } = this.#options;
    await this.#countOomKills();
    if ((await readStartTicks(target.pid)) !== target.startTicks)
      return { why: "target-gone", message: "The container's first process has ended, and all workers with it." };
    if (untilMs !== undefined && clock.monotonicMs() >= untilMs) return { why: "deadline", message: "The time of the stress is over." };
    this.#roll = await Promise.all(crews.map((crew) => crew.call()));
    if (crews.every((crew, index) => !crew.isRunning && this.#isDone(index)))
      return { why: "finished", message: `stress-ng has done what it was told: ${crews[0]?.output ?? ""}` };
    this.#trouble = undefined;
    for (const crew of crews) {
      if (this.#ending !== undefined) return undefined;
      const nowMs = clock.monotonicMs();
      const workers = crew.missing(nowMs);
      if (workers > 0) await crew.start({ nowMs, remainingMs: this.#remainingMs(), workers, isReplacement: true });
    }
    return undefined;
  }

  /** Arguments may say themselves how long stress-ng runs; ended by the kernel for want of memory, it is started again. */
  #isDone(index: number): boolean {
    return this.processes[index]?.what === "arguments" && this.#oom.since === 0;
  }

  async #countOomKills(): Promise<void> {
    const { cgroup } = this.#options.target;
    const own = await readOomKills(cgroup);
    const { before, beforeAbove, since } = this.#oom;
    // The kernel may have killed the whole container, and its groups are gone: version 2 counts in those above as well.
    const counted = own === undefined ? ((await readOomKills(parentOf(cgroup))) ?? 0) - beforeAbove : own - before;
    this.#oom = { before, beforeAbove, since: Math.max(since, counted) };
  }

  async #finish(end: StressEnd): Promise<void> {
    this.#cancelLook();
    const ending = this.#ending ?? this.#stopAll(end);
    this.#ending = ending;
    ending.then(
      () => this.#end(ending),
      () => {
        this.#ending = undefined; // to be tried again
      },
    );
    await ending;
  }

  async #stopAll(end: StressEnd): Promise<StressEnd> {
    await this.#looking; // it may be starting workers
    await Promise.all(this.#options.crews.map((crew) => crew.stop()));
    await this.#countOomKills();
    this.#roll = this.#roll.map(({ cpuTicks }) => ({ workers: 0, cpuTicks }));
    return end;
  }
}

/** Resolves when the first worker is there, or will not be. */
async function untilAtWork(crew: Crew): Promise<void> {
  const endMs = performance.now() + WORK_TIMEOUT_MS;
  while (performance.now() < endMs) {
    if ((await crew.call()).workers > 0 || !crew.isRunning) return;
    await sleep(20);
  }
}

function explainOom(kills: number): string | undefined {
  return kills === 0
    ? undefined
    : `Memory ran out: the kernel killed ${kills} ${kills === 1 ? "process" : "processes"} of the container. Workers among them are started again, at most once a second.`;
}

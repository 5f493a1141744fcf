import type { Cgroup } from "../cgroup/cgroup.ts";
import { listMembers } from "../cgroup/members.ts";
import { killAll, listMarked, type MarkedProcess } from "./marked.ts";
import { renderArguments, type StressProcess, workersOf } from "./plan.ts";
import { type OomScore, type Stressor, startStressor } from "./stressor.ts";

/** Workers that end are replaced no sooner than this after the last start. */
const RESTART_AFTER_MS = 1000;
/** How long a stress-ng may take to start all its workers. */
const SETTLE_MS = 5000;

/** Where and until when the workers of one planned process work. */
export interface Post {
  readonly mark: string;
  readonly pid: number;
  readonly cgroup: Cgroup;
  readonly entersUserNamespace: boolean;
  readonly oomScoreAdj: OomScore;
  readonly scratchFolder: string;
}

export interface Roll {
  readonly workers: number;
  readonly cpuTicks: number;
}

interface Team {
  readonly stressor: Stressor;
  readonly wanted: number;
  readonly startedMs: number;
  readonly alive: number;
  readonly mostAlive: number;
  readonly cpuTicks: number;
}

/** Keeps the workers of one planned process at work: those that end are replaced by a further stress-ng of as many. */
export class Crew {
  readonly #process: StressProcess;
  readonly #post: Post;
  #teams: readonly Team[] = [];
  #lastStartMs = Number.NEGATIVE_INFINITY;
  #restarts = 0;
  /** Of teams that have ended. */
  #pastCpuTicks = 0;
  #output = "";

  constructor(process: StressProcess, post: Post) {
    this.#process = process;
    this.#post = post;
  }

  /** Workers that were started in place of others. */
  get restarts(): number {
    return this.#restarts;
  }

  /** The end of what the last stress-ng to end has printed. */
  get output(): string {
    return this.#output;
  }

  get isRunning(): boolean {
    return this.#teams.some(({ stressor }) => stressor.isRunning());
  }

  /** Throws StressorError. */
  async start({ nowMs, remainingMs, workers = workersOf(this.#process) ?? 1, isReplacement = false }: Start): Promise<void> {
    this.#lastStartMs = nowMs;
    const lastsSeconds = Math.max(Math.ceil(remainingMs / 1000), 1);
    const { scratchFolder } = this.#post;
    const stressor = await startStressor({
      ...this.#post,
      arguments: renderArguments(this.#process, { workers, lastsSeconds, scratchFolder, withRamp: !isReplacement }),
      killAfterSeconds: lastsSeconds + 2,
    });
    this.#teams = [...this.#teams, { stressor, wanted: workers, startedMs: nowMs, alive: 0, mostAlive: 0, cpuTicks: 0 }];
    if (isReplacement) this.#restarts += workers;
  }

  /** Counts who is at work. */
  async call(): Promise<Roll> {
    const marked = await this.#listOwn();
    const counted = this.#teams.map((team) => ({ ...team, ...count(team, marked) }));
    for (const { stressor, cpuTicks } of counted.filter((team) => !team.stressor.isRunning())) {
      this.#output = stressor.output();
      this.#pastCpuTicks += cpuTicks;
    }
    this.#teams = counted.filter(({ stressor }) => stressor.isRunning());
    return {
      workers: this.#teams.reduce((sum, { alive }) => sum + alive, 0),
      cpuTicks: this.#teams.reduce((sum, { cpuTicks }) => sum + cpuTicks, this.#pastCpuTicks),
    };
  }

  /** How many workers are to be replaced now, as of the last call. One whose number only stress-ng knows is replaced as a whole. */
  missing(nowMs: number): number {
    if (nowMs - this.#lastStartMs < RESTART_AFTER_MS) return 0;
    const wanted = workersOf(this.#process);
    if (wanted === undefined) return this.isRunning ? 0 : 1;
    const isStarting = this.#teams.some((team) => team.mostAlive < team.wanted && nowMs - team.startedMs < SETTLE_MS);
    return isStarting ? 0 : wanted - this.#teams.reduce((sum, { alive }) => sum + alive, 0);
  }

  /** Kills them all, and resolves when none is left. */
  async stop(): Promise<void> {
    await killAll(() => this.#listOwn());
    await Promise.all(this.#teams.map(({ stressor }) => stressor.ended));
  }

  async #listOwn(): Promise<readonly MarkedProcess[]> {
    const marked = await listMarked(await listMembers(this.#post.cgroup));
    return marked.filter(({ mark }) => mark === this.#post.mark);
  }
}

export interface Start {
  readonly nowMs: number;
  readonly remainingMs: number;
  /** All by default. */
  readonly workers?: number;
  readonly isReplacement?: boolean;
}

/** Workers are the children of stress-ng's own first process, which is the child of timeout(1), see launch.ts. */
function count({ stressor, mostAlive, cpuTicks }: Team, marked: readonly MarkedProcess[]): Pick<Team, "alive" | "mostAlive" | "cpuTicks"> {
  const generations: (readonly MarkedProcess[])[] = [marked.filter(({ pid }) => pid === stressor.pid)];
  for (let parents = generations[0] ?? []; parents.length > 0; parents = generations.at(-1) ?? []) {
    const pids = new Set(parents.map(({ pid }) => pid));
    generations.push(marked.filter(({ parentPid }) => pids.has(parentPid)));
  }
  const alive = generations[3]?.length ?? 0;
  const ticks = generations.flat().reduce((sum, one) => sum + one.cpuTicks, 0);
  return { alive, mostAlive: Math.max(alive, mostAlive), cpuTicks: Math.max(ticks, cpuTicks) };
}

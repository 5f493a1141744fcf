import { type ChildProcessByStdio, spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { Cgroup } from "../cgroup/cgroup.ts";
import { joinGroups } from "../cgroup/members.ts";
import { renderLaunch, START } from "./launch.ts";
import { MARK } from "./marked.ts";

const START_TIMEOUT_MS = 5000;
const KEPT_OUTPUT_CHARS = 2000;

export interface StressorOrder {
  readonly mark: string;
  /** A process of the target. */
  readonly pid: number;
  readonly cgroup: Cgroup;
  readonly entersUserNamespace: boolean;
  readonly oomScoreAdj: OomScore;
  readonly killAfterSeconds: number;
  readonly arguments: readonly string[];
}

/** What the kernel's choice of victims is to be: wished for, or insisted on. */
export interface OomScore {
  readonly value: number;
  readonly isRequired: boolean;
}

/** A stress-ng that was started. */
export interface Stressor {
  /** Of the process that all others of it descend from. */
  readonly pid: number;
  readonly isRunning: () => boolean;
  /** The end of what it printed. */
  readonly output: () => string;
  readonly ended: Promise<void>;
}

/** A stress-ng could not be started, for a reason that the sentence tells. */
export class StressorError extends Error {
  override readonly name = "StressorError";
}

/**
 * Starts one stress-ng in all groups of the target: it is in them before it does anything. Throws StressorError, and has then left nothing.
 */
export async function startStressor(order: StressorOrder): Promise<Stressor> {
  const [program, ...parameters] = renderLaunch(order);
  const child = spawn(program, parameters, {
    stdio: ["pipe", "ignore", "pipe"],
    env: { [MARK]: order.mark },
    cwd: "/",
    detached: true, // a process group of its own: what workers send to theirs does not reach us
  });
  const stressor = watch(child);
  try {
    const { pid } = child;
    if (pid === undefined) throw new StressorError(`${program} could not be started.`);
    await joinGroups(order.cgroup, pid);
    await setOomScore(pid, order.oomScoreAdj);
    await untilWaiting(pid, stressor);
    child.stdin.end(`${START}\0`);
    return { ...stressor, pid };
  } catch (error) {
    child.kill("SIGKILL");
    await stressor.ended;
    throw error instanceof StressorError
      ? error
      : new StressorError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function watch(child: ChildProcessByStdio<Writable, null, Readable>): Omit<Stressor, "pid"> {
  let output = "";
  let isRunning = true;
  child.stderr.on("data", (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-KEPT_OUTPUT_CHARS);
  });
  child.stdin.on("error", () => undefined); // it ended before it was started; that it did is seen below
  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      isRunning = false;
      resolve();
    };
    child.once("error", (error) => {
      output = error.message;
      end();
    });
    child.once("exit", (code, signal) => {
      output = `${output.trim()} (${signal === null ? `exited with ${code}` : `ended by ${signal}`})`;
      end();
    });
  });
  return { isRunning: () => isRunning, output: () => output.trim(), ended };
}

/** Only now is it sure to die with us: a start before that could outlive a daemon that ends right after. */
async function untilWaiting(pid: number, stressor: Omit<Stressor, "pid">): Promise<void> {
  const endMs = performance.now() + START_TIMEOUT_MS;
  while (performance.now() < endMs) {
    if (!stressor.isRunning()) throw new StressorError(`stress-ng could not be started in the target: ${stressor.output()}`);
    if ((await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "")).trim() === "xargs") return;
    await sleep(5);
  }
  throw new StressorError(`stress-ng could not be started in the target within ${START_TIMEOUT_MS / 1000} s.`);
}

async function setOomScore(pid: number, { value, isRequired }: OomScore): Promise<void> {
  try {
    await writeFile(`/proc/${pid}/oom_score_adj`, String(value));
  } catch (error) {
    if (!isRequired) return; // the daemon's own value then, the least that it may give
    const own = (await readFile("/proc/self/oom_score_adj", "utf8")).trim();
    throw new StressorError(
      `memory.oomScoreAdj ${value} is less than the daemon's own ${own}, which takes the capability SYS_RESOURCE. Write ${own} or more, or give the daemon the capability.`,
      { cause: error },
    );
  }
}

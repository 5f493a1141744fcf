import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { sidecarPaths } from "../../../common/sidecar-layout.ts";
import { readCpuMs } from "../../support/process-cpu.ts";

/** Stands for a pod's sandbox: starts processes in this network and mount namespace and reads what they cost. */
export type PodOrder =
  | { readonly do: "write"; readonly files: Readonly<Record<string, string>> }
  /** Answers with Started once the process is up. */
  | {
      readonly do: "start";
      readonly argv: readonly string[];
      readonly variables: Readonly<Record<string, string>>;
      /** The TCP port that it listens on when it is up, or what else tells. */
      readonly upWhen: number | "it writes";
    }
  /** Runs a program to its end and answers with Ended. */
  | { readonly do: "run"; readonly argv: readonly string[] }
  /** Answers with Idle. */
  | { readonly do: "read"; readonly number: number }
  /** Sends SIGTERM and answers with the exit code. */
  | { readonly do: "stop"; readonly number: number }
  /** Ends whatever was started. */
  | { readonly do: "end" };

export interface Started {
  /** By which the process is known here. */
  readonly number: number;
  /** From exec until it is up. */
  readonly upMs: number;
  /** Of the process and the programs that it ran. */
  readonly cpuMs: number;
}

export interface Ended {
  readonly code: number | null;
  /** Both, one after the other. */
  readonly output: string;
}

/** From smaps_rollup, see proc_pid_smaps_rollup(5). */
export interface Idle {
  readonly residentBytes: number;
  /** Clean and dirty pages that no other process maps. */
  readonly privateBytes: number;
  readonly anonymousBytes: number;
  /** Since its start, the programs that it ran included. */
  readonly cpuMs: number;
}

const POLL_MS = 2;
const LONGEST_WAIT_MS = 20_000;
const started: ChildProcess[] = [];

// `ip netns exec` gave this process a mount namespace of its own: what the pod's volumes hold is seen by nobody else.
execFileSync("mount", ["-t", "tmpfs", "squall-pod", "/var"]);
mkdirSync(sidecarPaths.state, { recursive: true });

function isListening(port: number): boolean {
  const listening = new RegExp(`:${port.toString(16).toUpperCase()} \\S+ 0A `);
  return ["tcp", "tcp6"].some((table) => listening.test(readFileSync(`/proc/self/net/${table}`, "utf8")));
}

async function start({ argv, variables, upWhen }: Extract<PodOrder, { do: "start" }>): Promise<Started> {
  const [program = "", ...parameters] = argv;
  const begun = performance.now();
  const child = spawn(program, parameters, {
    stdio: ["ignore", "pipe", "inherit"],
    env: { PATH: process.env["PATH"], ...variables },
  });
  const number = started.push(child) - 1;
  if (upWhen === "it writes") await once(child.stdout, "data", { signal: AbortSignal.timeout(LONGEST_WAIT_MS) });
  else while (!isListening(upWhen) && performance.now() < begun + LONGEST_WAIT_MS) await sleep(POLL_MS);
  const upMs = performance.now() - begun;
  child.stdout.resume();
  if (upWhen !== "it writes" && !isListening(upWhen)) throw new Error("The process does not listen.");
  return { number, upMs, cpuMs: readCpuMs(child.pid ?? Number.NaN) };
}

function run([program = "", ...parameters]: readonly string[]): Ended {
  const { status, stdout, stderr } = spawnSync(program, parameters, { encoding: "utf8", timeout: LONGEST_WAIT_MS });
  return { code: status, output: `${stdout}${stderr}` };
}

function read({ pid }: ChildProcess): Idle {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const bytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? Number.NaN) * 1024;
  return {
    residentBytes: bytes("Rss"),
    privateBytes: bytes("Private_Clean") + bytes("Private_Dirty"),
    anonymousBytes: bytes("Anonymous"),
    cpuMs: readCpuMs(pid ?? Number.NaN),
  };
}

function childOf(number: number): ChildProcess {
  const child = started[number];
  if (child === undefined) throw new Error(`There is no process ${number}.`);
  return child;
}

async function stop(child: ChildProcess): Promise<{ readonly code: number | null }> {
  child.kill("SIGTERM");
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  return { code: child.exitCode };
}

async function obey(order: PodOrder): Promise<object> {
  switch (order.do) {
    case "write":
      for (const [path, content] of Object.entries(order.files)) {
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, content);
      }
      return {};
    case "start":
      return start(order);
    case "run":
      return run(order.argv);
    case "read":
      return read(childOf(order.number));
    case "stop":
      return stop(childOf(order.number));
    case "end":
      for (const child of started) child.kill("SIGKILL");
      return {};
  }
}

process.on("message", (order: PodOrder) => {
  obey(order).then(
    (answer) => process.send?.({ answer }),
    (error: unknown) => process.send?.({ error: error instanceof Error ? error.message : String(error) }),
  );
});
process.on("disconnect", () => {
  for (const child of started) child.kill("SIGKILL");
  process.exit(0);
});

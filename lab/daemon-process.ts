import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { SYSTEM_PATH } from "./run.ts";

/** A program that runs until we stop it. */
export interface DaemonProcess {
  readonly name: string;
  readonly pid: number;
  /** Whether it is still running. */
  isRunning(): boolean;
  /** Settles when it has ended, with the reason. */
  readonly ended: Promise<string>;
  /** SIGKILLs it and waits for its end. May be called twice. */
  stop(): Promise<void>;
  /** The last lines of its log. */
  lastWords(): string;
}

/**
 * Starts a program that dies with this process, whatever kills us: setpriv(1) sets PR_SET_PDEATHSIG before it becomes the program.
 * It gets none of our environment: no proxy of ours is meant for it. Both its outputs go to `logFile`.
 */
export function startDaemon(name: string, argv: readonly string[], logFile: string): Promise<DaemonProcess> {
  const log = openSync(logFile, "a");
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", "env", "-i", `PATH=${SYSTEM_PATH}`, ...argv], {
    stdio: ["ignore", log, log],
  });
  closeSync(log);
  return new Promise((resolve, reject) => {
    child.once("error", (error) => reject(new Error(`${name} could not be started: ${error.message}`, { cause: error })));
    child.once("spawn", () => resolve(describe(name, child, logFile)));
  });
}

function describe(name: string, child: ChildProcess, logFile: string): DaemonProcess {
  const isRunning = (): boolean => child.exitCode === null && child.signalCode === null;
  const ended = new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => resolve(signal === null ? `exited with ${code}` : `was killed by ${signal}`));
  });
  return {
    name,
    pid: child.pid ?? 0,
    isRunning,
    ended,
    async stop() {
      if (isRunning()) child.kill("SIGKILL");
      if (isRunning()) await ended;
    },
    lastWords: () => readFileSync(logFile, "utf8").trim().split("\n").slice(-8).join("\n"),
  };
}

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { run, type RunOptions } from "../run.ts";

/** kubectl against one cluster. Every call has a time-out: against a half-stopped API server kubectl hangs for minutes. */
export interface Kubectl {
  /** Standard output; throws CommandError. 30 s unless told otherwise. */
  run(parameters: readonly string[], options?: Pick<RunOptions, "stdin" | "timeoutMs">): Promise<string>;
  /** Calls back with each line until the signal aborts; begins anew when the command ends before. */
  follow(parameters: readonly string[], onLine: (line: string) => void, signal: AbortSignal): void;
}

/** How to reach the cluster: the arguments that come before every command. */
export interface ClusterAccess {
  readonly program: string;
  /** `--kubeconfig FILE` or `--context NAME`. */
  readonly parameters: readonly string[];
}

const RESTART_MS = 500;

export function createKubectl({ program, parameters: access }: ClusterAccess): Kubectl {
  return {
    run: (parameters, { timeoutMs = 30_000, ...options } = {}) => run([program, ...access, ...parameters], { timeoutMs, ...options }),
    follow(parameters, onLine, signal) {
      const start = (): void => {
        if (signal.aborted) return;
        const child = spawn(program, [...access, ...parameters], { stdio: ["ignore", "pipe", "ignore"] });
        const stop = (): void => void child.kill("SIGKILL");
        signal.addEventListener("abort", stop, { once: true });
        createInterface(child.stdout).on("line", onLine);
        child.once("error", () => undefined); // close follows and starts the next try
        child.once("close", () => {
          signal.removeEventListener("abort", stop);
          setTimeout(start, RESTART_MS).unref();
        });
      };
      start();
    },
  };
}

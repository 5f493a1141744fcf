import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import type { Argv, Command } from "./plan.ts";

/** The programs that agents may run, and nothing else. */
const known = [
  "ip",
  "ipset",
  "tc",
  "iptables-nft-save",
  "iptables-nft-restore",
  "iptables-legacy-save",
  "iptables-legacy-restore",
  "ip6tables-nft-save",
  "ip6tables-nft-restore",
  "ip6tables-legacy-save",
  "ip6tables-legacy-restore",
] as const;
export type ProgramName = (typeof known)[number];

const folders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"] as const;
const TIMEOUT_MS = 10_000;

/** A program that ended badly, could not be started or was not there. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly stderr: string;

  constructor(command: Command, how: string, stderr = "") {
    super(`${command.argv.join(" ")} ${how}${stderr === "" ? "" : `: ${stderr.trim()}`}`);
    this.stderr = stderr;
  }
}

export interface Programs {
  has(name: ProgramName): boolean;
  /**
   * Starts a program ahead: the next `run` with these arguments and an input has it, and need not wait for it to load. It does nothing before
   * it gets its input, nor when this process ends. The function that is returned ends one that was not taken.
   */
  startAhead(argv: Argv): () => void;
  /** Runs a program of the list above to its end, without a shell and without our environment. Throws CommandError; 10 s at most. */
  run(command: Command): Promise<{ readonly stdout: string; readonly stderr: string }>;
}

/** Finds the programs once, by absolute path; PATH is not asked. */
export function findPrograms(): Programs {
  const paths = new Map<string, string>(
    known.flatMap((name) => {
      const path = folders.map((folder) => `${folder}/${name}`).find(isExecutable);
      return path === undefined ? [] : [[name, path]];
    }),
  );
  const waiting = new Map<string, Started>();
  const start = ({ argv: [name, ...parameters] }: Command): Started | undefined => {
    const path = paths.get(name);
    return path === undefined ? undefined : startProgram(path, parameters);
  };
  return {
    has: (name) => paths.has(name),
    startAhead(argv) {
      const key = argv.join(" ");
      const started = waiting.get(key) ?? start({ argv });
      if (started === undefined) return () => undefined; // `run` tells of a program that is not there
      waiting.set(key, started);
      return () => {
        if (waiting.get(key) !== started) return;
        waiting.delete(key);
        started.end();
      };
    },
    run(command) {
      const key = command.argv.join(" ");
      const ahead = command.stdin === undefined ? undefined : waiting.get(key);
      if (ahead !== undefined) waiting.delete(key);
      const program = ahead ?? start(command);
      if (program === undefined) return Promise.reject(new CommandError(command, "cannot run: the program is not in the image"));
      return program.run(command);
    },
  };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // not there, or not for us: either way not a program to use
  }
}

interface Started {
  /** Gives it its input and waits for its end. */
  run(command: Command): Promise<{ readonly stdout: string; readonly stderr: string }>;
  /** Ends it before it got any. */
  end(): void;
}

function startProgram(path: string, parameters: readonly string[]): Started {
  // No environment: locale and iptables' own variables change what these programs print and do. iptables takes its lock from a file
  // that a read-only root has no place for; rules of this network namespace are changed by us alone.
  const child = spawn(path, parameters, {
    stdio: "pipe",
    timeout: TIMEOUT_MS,
    killSignal: "SIGKILL",
    env: { XTABLES_LOCKFILE: "/dev/null" },
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  child.stdin.on("error", () => undefined); // it may end before it has read everything; its exit code tells why
  const ended = new Promise<(command: Command) => CommandError | undefined>((resolve) => {
    child.once("error", (error) => resolve((command) => new CommandError(command, "could not be started", error.message)));
    child.once("close", (code, signal) => {
      const how = code === null ? `was ended by ${signal ?? "a signal"}` : `exited with ${code}`;
      resolve((command) => (code === 0 ? undefined : new CommandError(command, how, stderr)));
    });
  });
  return {
    async run(command) {
      child.stdin.end(command.stdin ?? "");
      const error = (await ended)(command);
      if (error) throw error;
      return { stdout, stderr };
    },
    end: () => void child.kill("SIGKILL"),
  };
}

import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import type { Command } from "./plan.ts";

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
  return {
    has: (name) => paths.has(name),
    run(command) {
      const [name, ...parameters] = command.argv;
      const path = paths.get(name);
      if (path === undefined) return Promise.reject(new CommandError(command, "cannot run: the program is not in the image"));
      return runToEnd(path, parameters, command);
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

function runToEnd(
  path: string,
  parameters: readonly string[],
  command: Command,
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  return new Promise((resolve, reject) => {
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
    child.once("error", (error) => reject(new CommandError(command, "could not be started", error.message)));
    child.once("close", (code, signal) => {
      if (code === 0) resolve({ stdout, stderr });
      else reject(new CommandError(command, code === null ? `was ended by ${signal ?? "a signal"}` : `exited with ${code}`, stderr));
    });
    child.stdin.end(command.stdin ?? "");
  });
}

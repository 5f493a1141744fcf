import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** A command that ended badly, with what it said. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  /** Undefined where it could not be started or was killed. */
  readonly exitCode: number | undefined;
  readonly output: string;

  constructor(argv: readonly string[], exitCode: number | undefined, output: string, cause?: unknown) {
    const end = exitCode === undefined ? "did not run to its end" : `exited with ${exitCode}`;
    super(`${argv.join(" ")} ${end}${output === "" ? "." : `:\n${output}`}`, { cause });
    this.exitCode = exitCode;
    this.output = output;
  }
}

export interface RunOptions {
  readonly cwd?: string | undefined;
  /** Written to standard input, which is empty otherwise. */
  readonly stdin?: string | undefined;
  /** Killed after this long. */
  readonly timeoutMs?: number | undefined;
  /** Called with each line of standard error as it comes. */
  readonly onLine?: ((line: string) => void) | undefined;
}

/** How many lines of a failed command's standard error are worth showing. */
const LINES_KEPT = 20;

/**
 * Runs a program to its end, in this process's environment, and returns its standard output. Throws CommandError.
 * Variables are added with env(1). No shell is involved.
 */
export function run(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const [program = "", ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: options.cwd, stdio: ["pipe", "pipe", "pipe"] });
    // Not spawn's own `timeout`: it goes on, and keeps this process, where the program could not be started.
    const timer = options.timeoutMs === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), options.timeoutMs);
    const said: string[] = [];
    createInterface(child.stderr).on("line", (line) => {
      options.onLine?.(line);
      said.push(line);
      if (said.length > LINES_KEPT) said.shift();
    });
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.once("error", (error) => reject(new CommandError(argv, undefined, error.message, error)));
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve(Buffer.concat(chunks).toString());
      else reject(new CommandError(argv, code ?? undefined, signal === null ? said.join("\n") : `killed by ${signal}`));
    });
    // A program that does not read its input may be gone before all of it is written; its exit code tells more.
    child.stdin.on("error", () => undefined);
    child.stdin.end(options.stdin ?? "");
  });
}

/** Where a Debian system keeps its programs. PATH of a person who became root by su(1) lacks half of it. */
export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Full path of a program on PATH or in the first of these folders that has it, or undefined. */
export async function findProgram(name: string, folders: readonly string[] = []): Promise<string | undefined> {
  for (const candidate of [name, ...folders.map((folder) => `${folder}/${name}`)]) {
    const path = await run(["which", candidate]).catch(() => undefined);
    if (path !== undefined) return path.trim();
  }
  return undefined;
}

import { execFile } from "node:child_process";

export interface Ended {
  /** As of timeout(1): 124 and 137 where it took too long. */
  readonly exitCode: number;
  readonly output: string;
}

/** Runs a program that may fail, for `seconds` at most, and returns all that it said. */
export function runToEnd(
  argv: readonly string[],
  { cwd, seconds = 240, env }: { readonly cwd?: string; readonly seconds?: number; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const options = { cwd, maxBuffer: 2 ** 28, ...(env && { env }) };
    execFile("timeout", ["--kill-after=5", String(seconds), ...argv], options, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== "number" && error.signal === undefined) reject(error);
      else resolve({ exitCode: error === null ? 0 : Number(error.code ?? 137), output: `${stdout}\n${stderr}` });
    });
  });
}

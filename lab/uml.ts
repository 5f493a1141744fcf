import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CommandError } from "./run.ts";
import { prepareUml, quote } from "./uml-kernel.ts";

export interface UmlResult {
  readonly exitCode: number;
  /** Standard output and standard error. */
  readonly output: string;
}

/** Boots a User-Mode Linux kernel, see uml-kernel.ts, and runs one program in it. Throws CommandError when the kernel does not end in time. */
export async function runInUml(
  argv: readonly string[],
  {
    cwd,
    timeoutMs,
    memoryMb = 1200,
    environment = {},
  }: {
    readonly cwd: string;
    readonly timeoutMs: number;
    readonly memoryMb?: number;
    readonly environment?: Readonly<Record<string, string>>;
  },
): Promise<UmlResult> {
  const folder = await mkdtemp(join(tmpdir(), "squall-uml-"));
  try {
    const commands = [
      `cd ${quote(cwd)}`,
      ...Object.entries(environment).map(([name, value]) => `export ${name}=${quote(value)}`),
      `${argv.map(quote).join(" ")} > ${quote(join(folder, "output"))} 2>&1`,
      `echo $? > ${quote(join(folder, "exit"))}`,
    ];
    await boot(await prepareUml({ folder, memoryMb, commands }), { folder, timeoutMs });
    const exitCode = Number(await readFile(join(folder, "exit"), "utf8").catch(() => "255")); // a kernel that crashed left none
    return { exitCode, output: await readFile(join(folder, "output"), "utf8").catch(() => "") };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function boot(kernel: readonly string[], { folder, timeoutMs }: { readonly folder: string; readonly timeoutMs: number }): Promise<void> {
  const [program = "", ...parameters] = kernel;
  return new Promise((resolve, reject) => {
    // a process group of its own: each process of the kernel is one here, and all must end
    const child = spawn(program, parameters, { cwd: folder, stdio: "ignore", detached: true });
    const end = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch {
        // all of them have ended
      }
    };
    const timer = setTimeout(() => {
      end();
      reject(new CommandError(kernel, undefined, `not within ${timeoutMs} ms`));
    }, timeoutMs);
    child.once("error", (error) => {
      clearTimeout(timer);
      reject(new CommandError(kernel, undefined, error.message, error));
    });
    child.once("close", () => {
      clearTimeout(timer);
      end();
      resolve();
    });
  });
}

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { waitUntil } from "../../../lab/wait-until.ts";

/** The process of a database, in a process group of its own, with a folder for its socket and its log, which goes with it. */
export class DatabaseProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #isKilled = false;

  readonly #folder: string;

  constructor(argv: readonly string[], folder: string) {
    const [program = "", ...rest] = argv;
    this.#folder = folder;
    const log = openSync(join(folder, "log"), "a");
    this.#child = spawn(program, rest, { stdio: ["ignore", log, log], detached: true, cwd: "/" });
    closeSync(log);
    this.#ended = new Promise((resolve) => this.#child.once("close", () => resolve()));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get end(): string | undefined {
    const { exitCode, signalCode } = this.#child;
    if (this.#isKilled || (exitCode === null && signalCode === null)) return undefined;
    return signalCode ?? `exit code ${exitCode}`;
  }

  /** Until `ask` resolves. */
  async untilReady(ask: () => Promise<unknown>): Promise<void> {
    await waitUntil("The database is ready", async () => (await ask(), true), {
      timeoutMs: 30_000,
      mayFail: true,
      whyNever: () => this.end,
    });
  }

  async kill(): Promise<void> {
    this.#isKilled = true;
    try {
      process.kill(-this.pid, "SIGKILL");
    } catch {
      // nobody is left of the group
    }
    await this.#ended;
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

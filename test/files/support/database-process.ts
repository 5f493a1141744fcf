import { type ChildProcess, spawn } from "node:child_process";
import { openSync } from "node:fs";
import { waitUntil } from "../../../lab/wait-until.ts";

/** The process of a database, in a process group of its own. What it says goes to a file. */
export class DatabaseProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #isKilled = false;

  constructor(argv: readonly string[], logPath: string) {
    const [program = "", ...rest] = argv;
    const log = openSync(logPath, "a");
    this.#child = spawn(program, rest, { stdio: ["ignore", log, log], detached: true, cwd: "/" });
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
  }
}

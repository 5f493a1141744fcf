import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** Where programs run: a served volume. */
interface Place {
  readonly path: string;
}

/** Runs a shell script in the volume, for 20 s at most. Never this process itself: it starts the server, and would wait for it while it does. */
export async function run(volume: Place, script: string): Promise<{ readonly text: string; readonly ms: number }> {
  const startMs = performance.now();
  const child = spawn("timeout", ["-s", "KILL", "20", "bash", "-c", script], { cwd: volume.path, stdio: ["ignore", "pipe", "pipe"] });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
  await new Promise((resolve) => child.once("close", resolve));
  return { text: Buffer.concat(chunks).toString().trim(), ms: performance.now() - startMs };
}

/** A shell that goes on at each line it is told, and says a line after each step. */
export class Program {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  constructor(volume: Place, script: string, folder = volume.path) {
    this.#child = spawn("timeout", ["-s", "KILL", "60", "bash", "-c", script], { cwd: folder });
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]();
  }

  async hear(): Promise<string> {
    const { value } = await this.#lines.next();
    return value ?? "";
  }

  async goOn(): Promise<string> {
    this.#child.stdin.write("\n");
    return this.hear();
  }

  end(): void {
    this.#child.kill("SIGKILL");
  }
}

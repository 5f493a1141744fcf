import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { type ProcessIdentity, readIdentity } from "../../../daemon/time/target-process.ts";

/** A process that tests do things to: lines in, lines out. */
export interface TargetProgram {
  readonly identity: ProcessIdentity;
  ask(line: string): Promise<string>;
  /** The next line that it says by itself. */
  hear(): Promise<string>;
  tell(text: string): void;
  readonly hasEnded: boolean;
  kill(signal: NodeJS.Signals): void;
  close(): Promise<void>;
}

export async function startTarget(argv: readonly string[]): Promise<TargetProgram> {
  const [program = "", ...rest] = argv;
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn(program, rest, { stdio: ["pipe", "pipe", "inherit"] });
  await once(child, "spawn");
  const identity = readIdentity(child.pid ?? 0);
  if (identity === undefined) throw new Error(`${argv.join(" ")} ended at once.`);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const hear = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${argv.join(" ")} ended (${child.exitCode ?? child.signalCode ?? "no answer"}).`);
    return value;
  };
  child.stdin.on("error", () => {}); // it ended; the missing answer tells
  return {
    identity,
    hear,
    ask(line) {
      child.stdin.write(`${line}\n`);
      return hear();
    },
    tell: (text) => void child.stdin.write(text),
    get hasEnded() {
      return child.exitCode !== null || child.signalCode !== null;
    },
    kill: (signal) => void child.kill(signal),
    async close() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const closed = once(child, "close");
      child.kill("SIGKILL");
      await closed;
    },
  };
}

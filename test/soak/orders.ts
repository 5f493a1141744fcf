import { fork } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** What a child process of ours answers to its parent, one order at a time. */
type Reply = { readonly answer: unknown } | { readonly error: string };

const END_TIMEOUT_MS = 10_000;

export interface Asked {
  readonly pid: number;
  /** What the process answers; throws what went wrong there, and when it ends before it has answered. */
  ask(order: object): Promise<unknown>;
  /** Resolves when it is gone: it ends with its channel, or is killed. */
  end(): Promise<void>;
}

/** Forks a module of ours, by its URL. Its output goes to `logFile`, or to ours. */
export function forkAsked(
  module: URL,
  options: { readonly execArgv: readonly string[]; readonly env?: Readonly<Record<string, string>>; readonly logFile?: string },
): Asked {
  const { execArgv, env = {}, logFile } = options;
  const log = logFile === undefined ? undefined : openSync(logFile, "a");
  const output = log ?? "inherit";
  const child = fork(fileURLToPath(module), [], {
    execArgv: [...execArgv],
    env: { ...process.env, ...env },
    stdio: ["ignore", output, output, "ipc"],
  });
  if (log !== undefined) closeSync(log);
  const ended = new Promise<string>((resolve) => {
    child.once("exit", (code, signal) =>
      resolve(`${module.pathname} ended (${signal ?? code})${logFile === undefined ? "" : `; see ${logFile}`}.`),
    );
  });
  let last: Promise<unknown> = Promise.resolve();
  const ask = async (order: object): Promise<unknown> => {
    const reply = new Promise<Reply>((resolve) => child.once("message", (message) => resolve(message as Reply)));
    // one that ended meanwhile is told by `ended`, with the reason
    child.send(order, () => undefined);
    const result = await Promise.race([reply, ended.then((error): Reply => ({ error }))]);
    if ("error" in result) throw new Error(result.error);
    return result.answer;
  };
  return {
    pid: child.pid ?? 0,
    ask(order) {
      const answer = last.then(() => ask(order));
      last = answer.catch(() => undefined);
      return answer;
    },
    async end() {
      if (child.connected) child.disconnect();
      const timer = setTimeout(() => child.kill("SIGKILL"), END_TIMEOUT_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** In the child: answers its parent and ends with it. */
export function answerOrders(answer: (order: unknown) => unknown): void {
  process.on("message", (order) => {
    Promise.resolve()
      .then(() => answer(order))
      .then(
        (result): Reply => ({ answer: result }),
        (error: unknown): Reply => ({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
      )
      .then((reply) => process.send?.(reply))
      .catch(() => process.exit(1));
  });
  process.once("disconnect", () => process.exit(0));
}

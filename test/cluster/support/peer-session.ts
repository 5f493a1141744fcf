import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

export interface PeerSession {
  /** Has the peer program run one of its commands, and returns what it printed. Throws when the session breaks or takes longer than two minutes. */
  ask(argv: readonly string[]): Promise<unknown>;
  close(): void;
}

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

const TIMEOUT_MS = 120_000;

/**
 * One `kubectl exec` for all commands of a peer: to start a program in a pod takes seconds on a slow kernel and disturbs what is measured
 * there. It is opened with the first question, and again when it broke. No traffic of it is the pod's own, so no fault touches it.
 */
export function createPeerSession(argv: readonly string[]): PeerSession {
  let child: ChildProcess | undefined;
  let nextId = 1;
  const waiting = new Map<number, { readonly resolve: (result: unknown) => void; readonly reject: (error: Error) => void }>();

  function open(): ChildProcess {
    const [program = "", ...parameters] = argv;
    const opened = spawn(program, parameters, { stdio: ["pipe", "pipe", "pipe"] });
    let said = "";
    opened.stderr.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-1000);
    });
    createInterface(opened.stdout).on("line", (line) => {
      const { id, result, error } = JSON.parse(line) as Answer;
      const asked = waiting.get(id);
      waiting.delete(id);
      if (error === undefined) asked?.resolve(result);
      else asked?.reject(new Error(error));
    });
    opened.stdin.on("error", () => undefined); // "close" follows and tells more
    const end = (why: string): void => {
      if (child === opened) child = undefined;
      for (const { reject } of waiting.values()) reject(new Error(`${argv.join(" ")} ended: ${why} ${said}`));
      waiting.clear();
    };
    opened.once("error", (error) => end(error.message));
    opened.once("close", (code) => end(`exit code ${code}.`));
    return opened;
  }

  return {
    async ask(command) {
      child ??= open();
      const id = nextId++;
      const answer = new Promise<unknown>((resolve, reject) => waiting.set(id, { resolve, reject }));
      const timer = setTimeout(() => {
        waiting.get(id)?.reject(new Error(`${command.join(" ")}: no answer within ${TIMEOUT_MS / 1000} s`));
        waiting.delete(id);
      }, TIMEOUT_MS);
      child.stdin?.write(`${JSON.stringify({ id, argv: command })}\n`);
      try {
        return await answer;
      } finally {
        clearTimeout(timer);
      }
    },
    close: () => void child?.kill("SIGKILL"),
  };
}

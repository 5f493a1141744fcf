import { type ChildProcess, spawn } from "node:child_process";
import type { Clock } from "../../common/clock.ts";
import { SIDECAR_GID } from "../../common/names.ts";
import type { LogLevel } from "../../common/log.ts";
import type { Receipt } from "../../proto/gen/agent.ts";
import type { Answer, Converged, Order, TimedFault, ToChild, ToParent } from "./messages.ts";
import type { OpenNetwork } from "./open-network.ts";
import { enterPrograms } from "./probe.ts";

/** A process of ours inside the network namespace of a pod. Every call ends within 20 s. */
export interface PodProcess {
  start(order: Omit<Extract<Order, { do: "start" }>, "do">): Promise<void>;
  converge(faults: readonly TimedFault[]): Promise<Converged>;
  readReceipts(): Promise<ReadonlyMap<string, Receipt>>;
  sweep(): Promise<void>;
  /** Calls back when faults are to be sent again, and when the process has ended without being told to. */
  onChange(callback: () => void): void;
  readonly isAlive: boolean;
  /** It takes everything back and ends. */
  close(): Promise<void>;
}

/** It could not do what was asked. */
export class PodProcessError extends Error {
  override readonly name = "PodProcessError";
  /** Whether nothing is in force. */
  readonly isTakenBack: boolean;

  constructor(message: string, { isTakenBack }: { readonly isTakenBack: boolean }) {
    super(message);
    this.isTakenBack = isTakenBack;
  }
}

export interface PodProcessOptions {
  /** The entry point of this program. */
  readonly main: string;
  readonly logLevel: LogLevel;
  readonly clock: Clock;
}

/** Well below a lease: whoever waits for one pod keeps the faults of all others waiting. */
const ANSWER_TIMEOUT_MS = 20_000;
const CLOSE_TIMEOUT_MS = 20_000;
/** Where the child finds the network namespace that it is to enter. */
const NETWORK_FD = 3;

/** What the child does without: the rights to other processes that the daemon has. Its own traffic is exempt by its group. See setpriv(1). */
const LIMITS = ["--regid", String(SIDECAR_GID), "--clear-groups", "--no-new-privs", "--bounding-set", "-all,+net_admin,+net_raw"];

/** Starts the process; the network may be closed once this returns. */
export function startPodProcess(
  podUid: string,
  { handle }: Pick<OpenNetwork, "handle">,
  { main, logLevel, clock }: PodProcessOptions,
): PodProcess {
  const [program, ...parameters] = [
    ...[enterPrograms.nsenter, `--net=/proc/self/fd/${NETWORK_FD}`],
    ...[enterPrograms.setpriv, ...LIMITS],
    ...[process.execPath, "--max-semi-space-size=1", main, "pod-network"],
  ];
  const child = spawn(program ?? "", parameters, {
    stdio: ["ignore", "inherit", "inherit", handle.fd, "ipc"],
    serialization: "advanced",
    env: { SQUALL_LOG_LEVEL: logLevel, SQUALL_POD_UID: podUid },
  });
  return superviseChild(child, clock);
}

function superviseChild(child: ChildProcess, clock: Clock): PodProcess {
  const waiting = new Map<number, PromiseWithResolvers<Answer>>();
  let number = 0;
  let tellChange = (): void => undefined;
  let end: Error | undefined;
  let isClosing = false;

  function die(why: string): void {
    if (end !== undefined) return;
    end = new PodProcessError(`The process in the pod's network namespace ${why}.`, { isTakenBack: false });
    for (const pending of waiting.values()) pending.reject(end);
    waiting.clear();
    if (!isClosing) tellChange();
  }
  const gone = Promise.withResolvers<void>();
  child.once("error", (error) => {
    die(`could not be started: ${error.message}`);
    gone.resolve();
  });
  child.once("exit", (code, signal) => {
    die(code === null ? `was ended by ${signal ?? "a signal"}` : `exited with ${code}`);
    gone.resolve();
  });
  child.on("message", (message: ToParent) => {
    if ("is" in message) return tellChange();
    waiting.get(message.number)?.resolve(message.answer);
    return waiting.delete(message.number);
  });

  async function ask(order: Order): Promise<Answer> {
    if (end !== undefined) throw end;
    const pending = Promise.withResolvers<Answer>();
    const message: ToChild = { number: (number += 1), order };
    waiting.set(message.number, pending);
    // Nobody knows what one that hangs still does.
    const cancel = clock.after(ANSWER_TIMEOUT_MS, () => child.kill("SIGKILL"));
    child.send(message, (error) => error && die(`cannot be reached: ${error.message}`));
    try {
      const answer = await pending.promise;
      if (answer.is === "failed") throw new PodProcessError(answer.message, answer);
      return answer;
    } finally {
      cancel();
    }
  }

  return {
    start: async (order) => void (await ask({ do: "start", ...order })),
    sweep: async () => void (await ask({ do: "sweep" })),
    async converge(faults) {
      const answer = await ask({ do: "converge", faults });
      if (answer.is !== "converged") throw new Error(`The answer to converge is ${answer.is}.`);
      return answer.converged;
    },
    async readReceipts() {
      const answer = await ask({ do: "read-receipts" });
      if (answer.is !== "receipts") throw new Error(`The answer to read-receipts is ${answer.is}.`);
      return new Map(answer.receipts);
    },
    onChange(callback) {
      tellChange = callback;
    },
    get isAlive() {
      return end === undefined;
    },
    async close() {
      isClosing = true;
      const cancel = clock.after(CLOSE_TIMEOUT_MS, () => child.kill("SIGKILL"));
      if (child.connected) child.disconnect();
      await gone.promise;
      cancel();
    },
  };
}

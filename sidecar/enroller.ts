import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable } from "node:stream";
import * as z from "zod/mini";
import type { Clock } from "../common/clock.ts";
import type { Log, LogLevel } from "../common/log.ts";
import type { EnrolmentOptions } from "../agent/enrolment.ts";

/** What `sidecar.mjs enrol` is told on its standard input, as a line of JSON. It ends when its standard input does. */
export interface EnrolOrder {
  readonly options: EnrolmentOptions;
  readonly logLevel: LogLevel;
}

const answer = z.object({
  /** PEM, as the certificates are. */
  privateKey: z.string(),
  certificate: z.string(),
  caCertificates: z.string(),
  /** When to enrol again, milliseconds since 1970. */
  renewAtMs: z.number(),
  /** DesiredFaults that apply to this pod already, base64; absent where there are none. */
  desired: z.optional(z.string()),
  /** Names of persistent volumes, by volume of the pod. */
  persistentVolumes: z.record(z.string(), z.string()),
});

/** What it answers. */
export type EnrolAnswer = z.output<typeof answer>;

/** Where it answers. */
export const ANSWER_FD = 3;

export interface Enroller {
  /** Enrols for as long as it takes; rejects only when the signal aborts. One call at a time. */
  enrol(options: EnrolmentOptions): Promise<EnrolAnswer>;
}

const PAUSE_MS = 1_000;

/**
 * Enrols in a process of its own, twice a day: a client's TLS and gRPC would stay in this process's memory for good. The first one starts at
 * once, so that it has loaded them by the time its order is known. The private key comes over the pipe between the two.
 */
export function startEnroller({
  main,
  logLevel,
  clock,
  log,
  signal,
}: {
  /** The entry point of this very program. */
  readonly main: string;
  readonly logLevel: LogLevel;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Enroller {
  const start = (): Started => {
    const child = spawn(process.execPath, [...process.execArgv, main, "enrol"], { stdio: ["pipe", "inherit", "inherit", "pipe"] });
    const answered = answerOf(child);
    answered.catch(() => undefined); // told to whoever asks; it may have ended before anybody does
    return { child, answered };
  };
  let ready: Started | undefined = start();
  signal.addEventListener("abort", () => ready?.child.kill("SIGKILL"), { once: true });
  return {
    async enrol(options) {
      for (;;) {
        signal.throwIfAborted();
        ready ??= start();
        try {
          return await ask(ready, { options, logLevel });
        } catch (error) {
          signal.throwIfAborted();
          log.warn({ err: error }, "the process that enrols failed and is started again");
        } finally {
          ready = undefined;
        }
        await new Promise<void>((resolve) => {
          const cancel = clock.after(PAUSE_MS, resolve);
          signal.addEventListener("abort", () => (cancel(), resolve()), { once: true });
        });
      }
    },
  };
}

interface Started {
  readonly child: ChildProcess;
  /** Rejects when the process cannot be started, ends with another code than 0, or with an answer that is none. */
  readonly answered: Promise<EnrolAnswer>;
}

function ask({ child, answered }: Started, order: EnrolOrder): Promise<EnrolAnswer> {
  child.stdin?.write(`${JSON.stringify(order)}\n`);
  return answered;
}

async function answerOf(child: ChildProcess): Promise<EnrolAnswer> {
  let said = "";
  const answers = child.stdio[ANSWER_FD] as Readable; // a pipe, as start() asks for
  answers.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  child.stdin?.on("error", () => undefined); // it ended before it had read everything; its exit code tells why
  const [code, killedBy] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  if (code !== 0) throw new Error(`It ended with ${code ?? killedBy}.`);
  try {
    return answer.parse(JSON.parse(said));
  } catch {
    throw new Error(`Its answer of ${said.length} characters is none.`); // without the answer: a private key may stand in it
  }
}

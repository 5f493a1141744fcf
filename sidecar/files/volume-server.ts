import { type ChildProcess, spawn } from "node:child_process";
import type { Descriptor } from "../../agent/descriptors.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { addCounts } from "./counts.ts";
import type { Notifier } from "./notifier.ts";
import type { Counts, FromServer, ServedFault, ToServer } from "./server-messages.ts";
import { within } from "./within.ts";

/** A volume that its owner has in hand. */
export interface VolumeInHand {
  readonly name: string;
  /** What the process inherits from number 3 on, see `serverDescriptors`. They stay the owner's, and open until the server is closed. */
  readonly descriptors: readonly Descriptor[];
  readonly init: string | undefined;
  /** Others than this pod may change its files. */
  readonly isShared: boolean;
}

export interface VolumeServerOptions {
  /** Program and arguments of the server process. */
  readonly command: readonly [program: string, ...parameters: string[]];
  readonly environment: NodeJS.ProcessEnv;
  readonly clock: Clock;
  readonly log: Log;
  /** Undefined where servers send to the kernel by themselves. */
  readonly notifier: Pick<Notifier, "send" | "startOver" | "written"> | undefined;
  /** Requests are answered; after each start. */
  readonly onServing: (init: string) => void;
  /** A process ended that should not have; another one is started. */
  readonly onDeath: () => void;
  /** The kernel took the mount away. There will be no other process. */
  readonly onUnmounted: () => void;
}

/** It could not be told, or did not answer. */
export class VolumeServerError extends Error {
  override readonly name = "VolumeServerError";
}

/** Calls on files wait while there is no server, so another one is started at once; one that does not live this long, less and less often. */
const STABLE_AFTER_MS = 1000;
const PAUSE_MS = { first: 50, most: 5000 } as const;
const RULE_TIMEOUT_MS = 15_000;
const COUNT_TIMEOUT_MS = 3000;
/** When not one more message is sent to the kernel; less than the teller waits. */
const STUCK_AFTER_MS = 1000;

/** A fault and when it ends at the latest, in monotonic milliseconds: it may be told to several processes one after the other. */
interface LastingFault extends Omit<ServedFault, "remainingMs"> {
  readonly untilMs: number;
}

interface Rules {
  readonly version: number;
  readonly faults: readonly LastingFault[];
  readonly done: PromiseWithResolvers<void>;
}

/** Serves one volume by a process of its own, which is started again whenever it ends, with what the kernel, the rules and the counts were. */
export class VolumeServer {
  readonly #volume: VolumeInHand;
  readonly #options: VolumeServerOptions;
  #init: string | undefined;
  #child: ChildProcess | undefined;
  #isServing = false;
  #isClosed = false;
  #cancelRestart = (): void => undefined;
  #earlyDeaths = 0;
  #startedMs = 0;
  #rules: Rules | undefined;
  #version = 0;
  /** Of processes that ended, as last read. */
  #earlier: readonly Counts[] = [];
  /** Of this process, as last read. */
  #latest: readonly Counts[] = [];
  #counting: PromiseWithResolvers<void> | undefined;

  constructor(volume: VolumeInHand, options: VolumeServerOptions) {
    this.#volume = volume;
    this.#options = options;
    this.#init = volume.init;
    this.#start();
  }

  get init(): string | undefined {
    return this.#init;
  }

  get isServing(): boolean {
    return this.#isServing;
  }

  /**
   * Has exactly these faults in force once it resolves. Rejects with VolumeServerError when the server did not say so in time: they are still wanted
   * then, and told to the next process.
   */
  async rule(faults: readonly ServedFault[]): Promise<void> {
    if (this.#isClosed) throw new VolumeServerError(`Volume ${this.#volume.name} is not served any more.`);
    const now = this.#options.clock.monotonicMs();
    this.#version += 1;
    const rules: Rules = {
      version: this.#version,
      faults: faults.map(({ id, io, remainingMs }) => ({ id, io, untilMs: now + remainingMs })),
      done: Promise.withResolvers<void>(),
    };
    this.#rules?.done.reject(new VolumeServerError("Other faults came meanwhile."));
    this.#rules = rules;
    rules.done.promise.catch(() => undefined); // there may be nobody who waits
    const wanted = new Set(faults.map(({ id }) => id));
    this.#earlier = this.#earlier.filter(({ id }) => wanted.has(id));
    this.#latest = this.#latest.filter(({ id }) => wanted.has(id));
    this.#sendRules();
    await this.#inTime(rules.done, RULE_TIMEOUT_MS, `The server of volume ${this.#volume.name} did not take the faults on in time.`);
  }

  /** What the faults in force did, over all processes: of one that ended, what was last read. */
  async count(): Promise<readonly Counts[]> {
    if (this.#isServing) {
      this.#counting ??= Promise.withResolvers<void>();
      const counting = this.#counting;
      this.#send({ do: "count" });
      await this.#inTime(counting, COUNT_TIMEOUT_MS, "No counts came in time.").catch((error: unknown) =>
        this.#options.log.debug({ err: error, volume: this.#volume.name }, "counts are as last read"),
      );
    }
    return addCounts(this.#earlier, this.#latest);
  }

  /** Ends the process; calls on files wait from then on, for whoever serves the volume next. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#isServing = false;
    this.#cancelRestart();
    this.#rules?.done.reject(new VolumeServerError(`Volume ${this.#volume.name} is not served any more.`));
    this.#counting?.resolve();
    const child = this.#child;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill("SIGKILL");
    await ended;
  }

  #start(): void {
    const { command, environment, clock } = this.#options;
    const [program, ...parameters] = command;
    this.#startedMs = clock.monotonicMs();
    const child = spawn(program, parameters, {
      stdio: ["ignore", "inherit", "inherit", ...this.#volume.descriptors.map(({ number }) => number), "ipc"],
      env: environment,
      serialization: "advanced",
    });
    this.#child = child;
    child.on("message", (message: FromServer) => {
      if (this.#child === child && !this.#isClosed) this.#hear(message, child);
    });
    child.once("error", (error) => this.#lose(child, error.message));
    child.once("exit", (code, signal) => this.#lose(child, signal ?? `exit code ${code}`));
    this.#send({ do: "serve", init: this.#init, isShared: this.#volume.isShared });
    this.#sendRules(); // at once, so that nothing passes without the faults
  }

  #hear(message: FromServer, child: ChildProcess): void {
    switch (message.is) {
      case "serving":
        this.#init = message.init;
        this.#isServing = true;
        this.#options.onServing(message.init);
        break;
      case "ruled":
        if (message.version === this.#rules?.version) this.#rules.done.resolve();
        break;
      case "notify":
        void this.#notify(message, child);
        break;
      case "counted":
        this.#latest = message.faults;
        this.#counting?.resolve();
        this.#counting = undefined;
        break;
      case "unmounted":
        void this.close();
        this.#options.onUnmounted();
        break;
    }
  }

  async #notify({ messages, isAwaited }: Extract<FromServer, { is: "notify" }>, child: ChildProcess): Promise<void> {
    const { notifier, clock } = this.#options;
    if (notifier === undefined) return;
    const sent = notifier.send(messages, { isAwaited }).then(() => "sent");
    if (!isAwaited) return;
    // What the kernel has still locked after that is something of which the server does not know: nobody can wait for that.
    for (let before = -1, is = ""; is !== "sent" && before !== notifier.written; ) {
      before = notifier.written;
      is = await within(STUCK_AFTER_MS, sent, clock).catch(() => "under way");
    }
    if (this.#child === child) this.#send({ do: "note-sent" });
  }

  /** It ended, whatever of. */
  #lose(child: ChildProcess, how: string): void {
    if (this.#child !== child) return;
    this.#child = undefined;
    this.#isServing = false;
    this.#earlier = addCounts(this.#earlier, this.#latest);
    this.#latest = [];
    this.#counting?.resolve();
    this.#counting = undefined;
    if (this.#isClosed) return;
    const { clock, log, notifier } = this.#options;
    notifier?.startOver();
    const livedMs = Math.round(clock.monotonicMs() - this.#startedMs);
    this.#earlyDeaths = livedMs < STABLE_AFTER_MS ? this.#earlyDeaths + 1 : 0;
    const pauseMs = this.#earlyDeaths < 2 ? 0 : Math.min(PAUSE_MS.first * 2 ** (this.#earlyDeaths - 2), PAUSE_MS.most);
    log.warn({ volume: this.#volume.name, how, livedMs, pauseMs }, "the server of a volume ended; another one is started");
    this.#options.onDeath();
    this.#cancelRestart = clock.after(pauseMs, () => {
      if (!this.#isClosed) this.#start();
    });
  }

  #sendRules(): void {
    if (this.#rules === undefined) return;
    const now = this.#options.clock.monotonicMs();
    const { version, faults } = this.#rules;
    this.#send({
      do: "rule",
      version,
      faults: faults.map(({ id, io, untilMs }) => ({ id, io, remainingMs: Math.max(untilMs - now, 0) })),
    });
  }

  /** What cannot be sent is sent to the next process. */
  #send(message: ToServer): void {
    if (this.#child?.connected === true) this.#child.send(message, undefined, undefined, () => undefined);
  }

  async #inTime(waiting: PromiseWithResolvers<void>, timeoutMs: number, why: string): Promise<void> {
    const timeout = Promise.withResolvers<never>();
    const cancel = this.#options.clock.after(timeoutMs, () => timeout.reject(new VolumeServerError(why)));
    await Promise.race([waiting.promise, timeout.promise]).finally(cancel);
  }
}

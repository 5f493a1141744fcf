import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { isRuntimeError, RuntimeError } from "./container-runtime.ts";
import type { Begin, CallOptions } from "./cri-client.ts";
import { type AnsweringRuntime, askVersion, discoverRuntime } from "./discovery.ts";

export interface ConnectionOptions {
  /** Where the node's /run is mounted. */
  readonly hostRun: string;
  readonly clock: Clock;
  readonly log: Log;
}

const LOOK_EVERY_MS = 10_000;
const FIRST_WAIT_MS = 500;

/**
 * The way to the runtime, found again whenever it is lost: by the next call, and by a look every 10 s, more often during an outage. The log tells
 * the beginning and the end of an outage once each.
 */
export class RuntimeConnection {
  readonly #options: ConnectionOptions;
  #found: AnsweringRuntime | undefined;
  #outage: string | undefined = "The container runtime has not answered yet.";
  #isToldOf = false;
  #search: Promise<AnsweringRuntime> | undefined;
  #waitMs = FIRST_WAIT_MS;
  #cancelLook: () => void = () => undefined;
  #isClosed = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  get outage(): string | undefined {
    return this.#outage;
  }

  start(): void {
    void this.#look();
  }

  /** The name of the runtime, looked for if need be. */
  async name(): Promise<string> {
    return (await this.#reach()).name;
  }

  /** Makes a call that may be made twice: a second time over a new connection when the first one was lost. */
  async call<A>(what: string, begin: Begin<A>, options: CallOptions): Promise<A> {
    const found = await this.#reach();
    try {
      return await found.client.call(what, begin, options);
    } catch (error) {
      if (!isRuntimeError(error, "unavailable")) throw error;
      this.#drop(found);
      return await (await this.#reach()).client.call(what, begin, options);
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelLook();
    if (this.#found !== undefined) this.#drop(this.#found);
  }

  /** Makes sure that what we have still answers, or finds it anew. Never throws: an outage is noted on the way. */
  async #look(): Promise<void> {
    const found = this.#found;
    if (found !== undefined) await askVersion(found.client).catch(() => this.#drop(found));
    await this.#reach().catch(() => undefined);
    this.#waitMs = Math.min(this.#waitMs * 2, LOOK_EVERY_MS);
    this.#lookIn(this.#outage === undefined ? LOOK_EVERY_MS : this.#waitMs);
  }

  #lookIn(delayMs: number): void {
    this.#cancelLook();
    if (!this.#isClosed) this.#cancelLook = this.#options.clock.after(delayMs, () => void this.#look());
  }

  /** What answered last, or what answers now: one search at a time, whoever waits for it. */
  async #reach(): Promise<AnsweringRuntime> {
    if (this.#isClosed) throw new RuntimeError("unavailable", "The connection to the container runtime is closed.");
    if (this.#found !== undefined) return this.#found;
    this.#search ??= this.#discover().finally(() => {
      this.#search = undefined;
    });
    return await this.#search;
  }

  async #discover(): Promise<AnsweringRuntime> {
    const { hostRun, clock, log } = this.#options;
    try {
      const found = await discoverRuntime(hostRun, clock);
      if (this.#isClosed) {
        found.client.close();
        throw new RuntimeError("unavailable", "The connection to the container runtime is closed.");
      }
      this.#found = found;
      const { name, version, client } = found;
      if (this.#outage !== undefined) log.info({ runtime: name, version, socket: client.socket }, "the container runtime answers");
      this.#outage = undefined;
      this.#isToldOf = false;
      return found;
    } catch (error) {
      this.#outage = error instanceof Error ? error.message : String(error);
      if (!this.#isToldOf && !this.#isClosed) {
        log.warn({ err: error }, "the container runtime does not answer; it is looked for again");
        this.#isToldOf = true;
        this.#waitMs = FIRST_WAIT_MS;
        this.#lookIn(FIRST_WAIT_MS);
      }
      throw error;
    }
  }

  #drop(found: AnsweringRuntime): void {
    found.client.close();
    if (this.#found === found) this.#found = undefined;
  }
}

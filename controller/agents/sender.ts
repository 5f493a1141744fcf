import { createHash } from "node:crypto";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { createBackOff } from "../../kube/back-off.ts";
import { wait } from "../../kube/wait.ts";
import {
  type DesiredFaults,
  type Fault,
  type FaultReport,
  FaultState,
  type Passport,
  type Report,
  type Target,
} from "../../proto/gen/agent.ts";
import { nodeOfAgent } from "../../common/names.ts";
import type { AgentLink, AgentTarget, Dial, HoldStream } from "./link.ts";
import type { Pace } from "./pace.ts";
import { explainNoDaemon } from "./whose.ts";

/** A fault as an experiment wants it on one target. */
export interface WantedFault {
  readonly id: string;
  readonly experimentUid: string;
  /** Kind/NAMESPACE/NAME. */
  readonly experiment: string;
  readonly leaseMs: number;
  /** Monotonic end; undefined for none. */
  readonly deadlineMs: number | undefined;
  /** What is faulted, where the agent has many targets. */
  readonly target?: Target | undefined;
  readonly family: NonNullable<Fault["family"]>;
}

/** What is known of an agent, as last heard. */
export interface AgentView {
  /** Whether the agent has converged to the newest set: only then do missing reports mean missing faults. */
  readonly isCurrent: boolean;
  readonly contact: Contact;
  readonly reports: ReadonlyMap<string, FaultReport>;
}

export type Contact =
  | { readonly is: "none" }
  | { readonly is: "up" }
  /** `sinceMs` is monotonic: when something was last sent on a connection that worked. */
  | { readonly is: "lost"; readonly sinceMs: number; readonly why: string };

/** Where an agent is dialled; "nowhere" while it has no address. */
export type Whereabouts = AgentTarget | "gone" | "nowhere";

export interface SenderOptions {
  /** UID of the pod, or node/NAME. */
  readonly agent: string;
  readonly leaderEpoch: number;
  /** Numbers that only grow, for this agent even across senders: an agent refuses what is older than it has seen. */
  readonly nextGeneration: () => number;
  readonly dial: Dial;
  /** Shared with all other senders. */
  readonly pace: Pick<Pace, "call" | "later">;
  readonly locate: () => Whereabouts;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
  /** The end of the leadership: nothing is sent after it. */
  readonly signal: AbortSignal;
  /** Throws when this process no longer leads. Asked before each message: a frozen process wakes up without knowing. */
  readonly mustLead: () => void;
  readonly onPassport: (passport: Passport) => void;
  /** What is known changed. */
  readonly onChange: () => void;
}

const digests = new WeakMap<WantedFault["family"], string>();

/** Stands for what a fault does. Thousands of pods share one, which may name thousands of addresses: it is read once, and none keeps a copy. */
function digestOf(family: WantedFault["family"]): string {
  const known = digests.get(family);
  if (known !== undefined) return known;
  const digest = createHash("sha256").update(JSON.stringify(family)).digest("base64");
  digests.set(family, digest);
  return digest;
}

const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 5_000;

/**
 * The one sender to one agent: sends the complete set of wanted faults whenever it changes, holds the stream and keeps the
 * leases alive while there are any, and starts over whenever the connection breaks. Never takes anything back by itself.
 */
export class Sender {
  readonly #options: SenderOptions;
  readonly #end = new AbortController();
  #faults: readonly WantedFault[] = [];
  #content = "[]";
  #generation: number;
  #acknowledged = 0;
  #reports: ReadonlyMap<string, FaultReport> = new Map();
  #contact: Contact = { is: "none" };
  #lastSentMs: number;
  #wake = Promise.withResolvers<void>();
  #running: Promise<void> | undefined;

  constructor(options: SenderOptions) {
    this.#options = options;
    this.#generation = options.nextGeneration();
    this.#lastSentMs = options.clock.monotonicMs();
  }

  start(): void {
    this.#running ??= this.#run(AbortSignal.any([this.#options.signal, this.#end.signal]));
  }

  /** Stops sending. Faults in force go on under their leases. */
  async close(): Promise<void> {
    this.#end.abort(new Error("The sender was closed."));
    this.#wake.resolve();
    await this.#running;
  }

  /** Replaces the set. Faults that only differ in time left are the same. */
  want(faults: readonly WantedFault[]): void {
    const sorted = faults.toSorted((one, other) => (one.id < other.id ? -1 : 1));
    const content = JSON.stringify(sorted.map(({ family, ...rest }) => [rest, digestOf(family)]));
    if (content === this.#content) return;
    this.#faults = sorted;
    this.#content = content;
    this.#generation = this.#options.nextGeneration();
    this.#wake.resolve();
  }

  /** The complete set as a message, in whose order it comes before no other of the same generation. */
  desired(): DesiredFaults {
    const nowMs = this.#options.clock.monotonicMs();
    return {
      targetUid: this.#options.agent,
      order: { leaderEpoch: this.#options.leaderEpoch, generation: this.#generation },
      faults: this.#faults.flatMap(({ deadlineMs, ...fault }) => {
        const remainingMs = deadlineMs === undefined ? undefined : Math.floor(deadlineMs - nowMs);
        // One whose time is over is taken back by being absent.
        if (remainingMs !== undefined && remainingMs <= 0) return [];
        return [{ ...fault, leaseMs: Math.round(fault.leaseMs), remainingMs }];
      }),
    };
  }

  get view(): AgentView {
    return { isCurrent: this.isCurrent, contact: this.#contact, reports: this.#reports };
  }

  /** Whether the agent has confirmed the newest set. */
  get isCurrent(): boolean {
    return this.#acknowledged === this.#generation;
  }

  /** Whether all is said, nothing is to be kept alive, and nothing is left that the agent could not take back. */
  get isIdle(): boolean {
    if (this.#faults.length > 0 || !this.isCurrent) return false;
    return [...this.#reports.values()].every(({ state }) => state !== FaultState.FAILED);
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock, log, agent, random } = this.#options;
    const backOff = createBackOff({ firstMs: FIRST_RETRY_MS, longestMs: LONGEST_RETRY_MS, random });
    while (!signal.aborted) {
      if (this.isIdle) {
        await this.#woken(signal);
        continue;
      }
      try {
        await this.#session(signal, () => backOff.reset());
      } catch (error) {
        if (signal.aborted) return;
        const why = error instanceof Error ? error.message : String(error);
        if (this.#contact.is !== "lost" || this.#contact.why !== why) {
          log.warn({ uid: agent, why }, "agent cannot be reached");
          this.#contact = { is: "lost", sinceMs: this.#contact.is === "lost" ? this.#contact.sinceMs : this.#lastSentMs, why };
          this.#options.onChange();
        }
        await wait(clock, Math.min(backOff.nextMs(), this.#heartbeatMs()), signal);
      }
    }
  }

  /** One connection, from dialling until nothing is left to do on it. Throws when it breaks. */
  async #session(signal: AbortSignal, onContact: () => void): Promise<void> {
    const { dial, pace, locate, mustLead, clock, agent, leaderEpoch } = this.#options;
    const where = locate();
    if (where === "gone") throw new Error("The target is gone.");
    if (where === "nowhere")
      throw new Error(nodeOfAgent(agent) === undefined ? "The pod has no address yet." : explainNoDaemon(nodeOfAgent(agent) ?? ""));
    let link: AgentLink | undefined;
    let stream: HoldStream | undefined;
    let broken: Error | undefined;
    let isStreamDue = false;
    let cancelStream: (() => void) | undefined;
    const onAbort = (): void => link?.close();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      while (!signal.aborted) {
        if (link === undefined || !this.isCurrent) {
          const call = async (): Promise<void> => {
            if (signal.aborted) return;
            link ??= dial(where);
            await this.#apply(link, signal);
          };
          await pace.call(call, { isUrgent: link !== undefined });
          if (signal.aborted) return;
          onContact();
          if (!this.isCurrent) continue;
          if (this.isIdle) return;
        }
        if (link !== undefined && isStreamDue) {
          stream ??= this.#hold(link, (error) => {
            broken ??= error;
            this.#wake.resolve();
          });
          mustLead();
          this.#lastSentMs = clock.monotonicMs();
          stream.beat({ targetUid: agent, leaderEpoch });
        } else {
          cancelStream ??= pace.later(() => {
            isStreamDue = true;
            this.#wake.resolve();
          });
        }
        await this.#woken(signal, this.#untilBeatMs());
        // Heard on the stream: what could not be taken back is gone at last.
        if (this.isIdle) return;
        // However many calls wait, the leases must not.
        isStreamDue ||= this.#untilBeatMs() === 0;
        if (broken !== undefined) throw broken;
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      cancelStream?.();
      stream?.close();
      link?.close();
    }
  }

  /** `fail` is told when the stream is over. */
  #hold(link: AgentLink, fail: (error: Error) => void): HoldStream {
    const since = this.#generation;
    const stream = link.hold((report) => {
      // A connection may come back by itself, to a process that has none of the faults and would take heartbeats for ever.
      if (this.#isBefore(report, since)) fail(new Error("The agent started again."));
      else this.#hear(report);
    });
    void stream.ended.then(fail);
    return stream;
  }

  /** Whether the agent that reports does not know of a set that was acknowledged. */
  #isBefore({ order }: Report, generation: number): boolean {
    const { leaderEpoch } = this.#options;
    const seen = order ?? { leaderEpoch: 0, generation: 0 };
    return seen.leaderEpoch < leaderEpoch || (seen.leaderEpoch === leaderEpoch && seen.generation < generation);
  }

  async #apply(link: AgentLink, signal: AbortSignal): Promise<void> {
    const generation = this.#generation;
    this.#options.mustLead();
    const report = await link.apply(this.desired());
    if (signal.aborted) return;
    this.#acknowledged = generation;
    this.#lastSentMs = this.#options.clock.monotonicMs();
    if (this.#contact.is === "lost") this.#options.log.info({ uid: this.#options.agent }, "agent can be reached again");
    this.#contact = { is: "up" };
    this.#hear(report);
  }

  /** Reports are complete: the newest one replaces what was known. */
  #hear(report: Report): void {
    // A report on the stream may have been written before the answer to an Apply that overtook it.
    if (this.#end.signal.aborted || (report.order?.generation ?? 0) < this.#acknowledged) return;
    this.#reports = new Map(report.faults.map((fault) => [fault.id, fault]));
    if (report.passport !== undefined) this.#options.onPassport(report.passport);
    if (this.isIdle) this.#wake.resolve();
    this.#options.onChange();
  }

  /** Three heartbeats in the shortest lease: two may get lost. */
  #heartbeatMs(): number {
    return Math.min(LONGEST_RETRY_MS * 4, ...this.#faults.map(({ leaseMs }) => leaseMs / 3));
  }

  #untilBeatMs(): number {
    return Math.max(0, this.#lastSentMs + this.#heartbeatMs() - this.#options.clock.monotonicMs());
  }

  /** Resolves when there is something to do, or after `limitMs`. */
  async #woken(signal: AbortSignal, limitMs?: number): Promise<void> {
    const { promise, resolve } = this.#wake;
    const onAbort = (): void => resolve();
    const cancel = limitMs === undefined ? undefined : this.#options.clock.after(limitMs, onAbort);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      if (!signal.aborted) await promise;
    } finally {
      cancel?.();
      signal.removeEventListener("abort", onAbort);
      this.#wake = Promise.withResolvers<void>();
    }
  }
}

import { noReceipt } from "../../agent/held-fault.ts";
import type { Clock } from "../../common/clock.ts";
import type { AgentLink, AgentTarget, Dial } from "../../controller/agents/link.ts";
import {
  type DesiredFaults,
  type Fault,
  type FaultReport,
  FaultState,
  type Heartbeat,
  type Order,
  type Report,
  type Passport,
  type Receipt,
} from "../../proto/gen/agent.ts";

interface Held {
  readonly fault: Fault;
  readonly deadlineMs: number;
  leaseUntilMs: number;
}

interface Stream {
  readonly send: (report: Report) => void;
  readonly end: (error: Error) => void;
}

/**
 * A sidecar that behaves: refuses what is stale or meant for somebody else, holds each fault no longer than deadline and
 * lease, reports completely, and forgets everything when it restarts.
 */
export class FakeAgent {
  readonly uid: string;
  /** Every set that was accepted, in order. */
  readonly accepted: DesiredFaults[] = [];
  /** Whether it can be dialled; one that becomes unreachable drops its connections. */
  #isReachable = true;
  /** Faults are refused with this. */
  refusal: { readonly reason: string; readonly message: string } | undefined;
  /** Faults fail with this, and so does taking them back. */
  failure: string | undefined;
  /** Calls wait for this before they do anything. */
  until: Promise<void> | undefined;
  matched = 0;
  /** What else its faults did. */
  counts: Partial<Receipt> = {};
  readonly #clock: Clock;
  readonly #watch: (desired: DesiredFaults) => void;
  /** Ids of containers that it was told to kill, in order. */
  readonly killed: string[] = [];
  /** Whether it took the volumes off its node. */
  isDetached = false;
  /** Ids of containers that have ended, for one that is a daemon. */
  readonly endedContainers = new Set<string>();
  #order: Order = { leaderEpoch: 0, generation: 0 };
  #held: ReadonlyMap<string, Held> = new Map();
  #ended: readonly string[] = [];
  readonly #streams = new Set<Stream>();

  constructor(uid: string, clock: Clock, watch: (desired: DesiredFaults) => void = () => undefined) {
    this.uid = uid;
    this.#clock = clock;
    this.#watch = watch;
  }

  /** Ids of the faults in force at this moment. */
  get inForce(): readonly string[] {
    return [...this.#held.values()].filter((held) => this.#stateOf(held) === FaultState.ACTIVE).map(({ fault }) => fault.id);
  }

  /** What it says of its surroundings. */
  passport: Passport | undefined;

  /** The newest set that was accepted. */
  get faults(): readonly Fault[] {
    return this.accepted.at(-1)?.faults ?? [];
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  get isReachable(): boolean {
    return this.#isReachable;
  }

  set isReachable(isReachable: boolean) {
    this.#isReachable = isReachable;
    if (!isReachable) this.#break("connection lost");
  }

  /** The container starts again: nothing is in force, and nothing is remembered. */
  restart(): void {
    this.#held = new Map();
    this.#ended = [];
    this.#order = { leaderEpoch: 0, generation: 0 };
    this.#break("connection reset");
  }

  /** What failed works at last: faults that were to be gone are. */
  mend(): void {
    const wanted = new Set(this.faults.map(({ id }) => id));
    this.failure = undefined;
    this.#ended = [...this.#held.keys()].filter((id) => !wanted.has(id));
    this.#held = new Map([...this.#held].filter(([id]) => wanted.has(id)));
    this.notify();
  }

  /** Tells whoever listens what is so now. */
  notify(): void {
    for (const stream of this.#streams) stream.send(this.report());
  }

  apply(desired: DesiredFaults): Report {
    const order = desired.order ?? { leaderEpoch: 0, generation: 0 };
    if (desired.targetUid !== this.uid) throw new Error("FAILED_PRECONDITION: another pod was meant");
    if (
      order.leaderEpoch < this.#order.leaderEpoch ||
      (order.leaderEpoch === this.#order.leaderEpoch && order.generation < this.#order.generation)
    )
      throw new Error("FAILED_PRECONDITION: stale order");
    this.#watch(desired);
    this.#order = order;
    this.accepted.push(desired);
    const now = this.#clock.monotonicMs();
    const wanted = new Map(
      desired.faults.map((fault): readonly [string, Held] => {
        const knownMs = this.#held.get(fault.id)?.deadlineMs ?? Infinity; // an end that was known never moves back
        const deadlineMs = Math.min(knownMs, now + (fault.remainingMs ?? Infinity));
        return [fault.id, { fault, leaseUntilMs: now + fault.leaseMs, deadlineMs }];
      }),
    );
    const removed = [...this.#held].filter(([id]) => !wanted.has(id));
    // One that cannot be taken back stays, and is said to.
    this.#ended = this.failure === undefined ? removed.map(([id]) => id) : [];
    this.#held = new Map([...(this.failure === undefined ? [] : removed), ...wanted]);
    return this.report();
  }

  heartbeat({ leaderEpoch }: Heartbeat): void {
    if (leaderEpoch < this.#order.leaderEpoch) return this.#break("FAILED_PRECONDITION: an older leader");
    const now = this.#clock.monotonicMs();
    const lifted = [...this.#held.values()].filter((held) => this.#stateOf(held) === FaultState.LEASE_ENDED);
    for (const held of this.#held.values()) held.leaseUntilMs = now + held.fault.leaseMs;
    if (lifted.length > 0) this.notify();
  }

  report(): Report {
    const receipt = { ...noReceipt, matched: this.matched, ...this.counts };
    const shared = { reason: "", message: "", receipt, interruptions: 0, interruptedMs: 0, resolved: [] };
    const faults: FaultReport[] = [
      ...[...this.#held.values()].map((held) => ({ ...shared, id: held.fault.id, ...this.#explain(held) })),
      ...this.#ended.map((id) => ({ ...shared, id, state: FaultState.ENDED })),
    ];
    return { targetUid: this.uid, order: this.#order, faults, agentVersion: "0.1.0", passport: this.passport };
  }

  connect(): AgentLink {
    const own = new Set<Stream>();
    const answer = async <R>(act: () => R): Promise<R> => {
      await this.until;
      if (!this.#isReachable) throw new Error("The sidecar cannot be reached.");
      return act();
    };
    return {
      apply: (desired) => answer(() => structuredClone(this.apply(structuredClone(desired)))),
      hold: (onReport) => {
        const { promise: ended, resolve } = Promise.withResolvers<Error>();
        const stream: Stream = { send: (report) => onReport(structuredClone(report)), end: resolve };
        own.add(stream);
        this.#streams.add(stream);
        // the first report comes at once
        void answer(() => {
          if (this.#streams.has(stream)) stream.send(this.report());
        }).catch((error: unknown) => this.#end(stream, String(error)));
        return {
          ended,
          beat: (heartbeat) => {
            if (this.#isReachable && this.#streams.has(stream)) this.heartbeat(heartbeat);
          },
          close: () => this.#end(stream, "closed by the caller"),
        };
      },
      killContainer: ({ containerId }) =>
        answer(() => {
          const wasGone = this.endedContainers.has(containerId);
          if (this.failure !== undefined) throw new Error(this.failure);
          if (!wasGone) this.killed.push(containerId);
          this.endedContainers.add(containerId);
          return { wasGone };
        }),
      detachVolumes: () =>
        answer(() => {
          if (this.failure !== undefined) throw new Error(this.failure);
          this.isDetached = true;
          return { count: 1 };
        }),
      close: () => {
        for (const stream of own) this.#end(stream, "the connection was closed");
      },
    };
  }

  #end(stream: Stream, why: string): void {
    this.#streams.delete(stream);
    stream.end(new Error(why));
  }

  #break(why: string): void {
    for (const stream of this.#streams) this.#end(stream, why);
  }

  #stateOf({ leaseUntilMs, deadlineMs }: Held): FaultState {
    const now = this.#clock.monotonicMs();
    if (this.refusal !== undefined) return FaultState.REFUSED;
    if (this.failure !== undefined) return FaultState.FAILED;
    if (now >= deadlineMs) return FaultState.ENDED;
    return now >= leaseUntilMs ? FaultState.LEASE_ENDED : FaultState.ACTIVE;
  }

  #explain(held: Held): Pick<FaultReport, "state" | "reason" | "message"> {
    const state = this.#stateOf(held);
    if (state === FaultState.REFUSED) return { state, reason: this.refusal?.reason ?? "", message: this.refusal?.message ?? "" };
    return { state, reason: "", message: this.failure ?? "" };
  }
}

/** The sidecars of all pods of a test. */
export class FakeAgents {
  readonly #clock: Clock;
  readonly #agents = new Map<string, FakeAgent>();
  /** Every dial, in order. */
  readonly dialled: AgentTarget[] = [];
  /** Looks at each set before it takes effect; what it throws fails the test. */
  watch: (desired: DesiredFaults) => void = () => undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The sidecar of a pod; made when first asked for. */
  of(uid: string): FakeAgent {
    const known = this.#agents.get(uid);
    if (known !== undefined) return known;
    const made = new FakeAgent(uid, this.#clock, (desired) => this.watch(desired));
    this.#agents.set(uid, made);
    return made;
  }

  readonly dial: Dial = (target) => {
    this.dialled.push(target);
    return this.of(target.uid).connect();
  };
}

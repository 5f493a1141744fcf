import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { isKubeError } from "./errors.ts";
import type { Kube, ObjectRef } from "./kube.ts";
import { type Lease, leases } from "./resources.ts";
import { wait } from "./wait.ts";

export interface LeaderElectorOptions {
  readonly kube: Kube;
  readonly clock: Clock;
  readonly log: Log;
  /** The Lease; it is made where there is none. */
  readonly ref: ObjectRef & { readonly namespace: string };
  /** Different for each process that ever runs: a pod name is not enough, add something random. */
  readonly identity: string;
  /** How long others wait after the last renewal that they saw. Whole seconds. */
  readonly durationMs?: number | undefined;
  /** A leader that could not renew for so long stops leading; shorter than the duration by more than clocks drift. */
  readonly renewDeadlineMs?: number | undefined;
  /** Time between two attempts. */
  readonly retryMs?: number | undefined;
  readonly random?: (() => number) | undefined;
  /** Whether a Lease that is not there may be made; by default it may. One that is there may always be taken. */
  readonly mayCreate?: (() => boolean) | undefined;
}

/** A span of time in which this process leads. */
export interface Leadership {
  /** `leaseTransitions`: higher than that of every leader before. */
  readonly epoch: number;
  /** Aborted at the end, before anybody else may lead. */
  readonly signal: AbortSignal;
}

interface Observed {
  readonly lease: Lease;
  /** When this process first saw this version, by its own clock: clocks of other machines are never compared. */
  readonly sinceMs: number;
}

interface Lead {
  readonly leadership: Leadership;
  readonly end: AbortController;
  untilMs: number;
  cancel: () => void;
}

/**
 * Leader election by a Lease, with the rules of client-go's: a candidate takes a lease that nobody holds or that did not
 * change for its duration, writes are guarded by resourceVersion, and a leader that cannot renew stops by its own clock
 * before the others may start. See https://kubernetes.io/docs/concepts/architecture/leases/.
 */
export class LeaderElector {
  readonly #options: LeaderElectorOptions;
  readonly #durationMs: number;
  readonly #renewDeadlineMs: number;
  readonly #retryMs: number;
  readonly #handlers = new Set<(leadership: Leadership | undefined) => void>();
  readonly #end = new AbortController();
  #observed: Observed | undefined;
  #lead: Lead | undefined;
  #running: Promise<void> | undefined;

  constructor(options: LeaderElectorOptions) {
    this.#options = options;
    this.#durationMs = options.durationMs ?? 15_000;
    this.#renewDeadlineMs = options.renewDeadlineMs ?? 10_000;
    this.#retryMs = options.retryMs ?? 2_000;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Stops leading and gives the lease back, so that a successor need not wait. */
  async close(): Promise<void> {
    this.#end.abort(new Error("The leader election was closed."));
    await this.#running;
  }

  /** Present only while this process leads, true even after the process was frozen: the clock is asked, not a timer. */
  get leadership(): Leadership | undefined {
    if (this.#lead !== undefined && this.#options.clock.monotonicMs() >= this.#lead.untilMs)
      this.#lose("the lease was not renewed in time");
    return this.#lead?.leadership;
  }

  /** Who held the lease when it was last read; for logs and metrics. */
  get holder(): string | undefined {
    return this.#observed?.lease.spec.holderIdentity || undefined;
  }

  /** Calls back with each leadership won, and with undefined when it is lost. */
  onChange(handler: (leadership: Leadership | undefined) => void): () => void {
    this.#handlers.add(handler);
    return () => this.#handlers.delete(handler);
  }

  async #run(): Promise<void> {
    const { clock, log, random = Math.random } = this.#options;
    const { signal } = this.#end;
    while (!signal.aborted) {
      try {
        await this.#visit(signal);
      } catch (error) {
        if (!signal.aborted) log.warn({ err: error, lease: this.#options.ref.name }, "reading or writing the lease failed");
      }
      // Candidates spread out, so that they do not all write at the moment a lease ends.
      await wait(clock, this.#lead === undefined ? this.#retryMs * (1 + 0.2 * random()) : this.#retryMs, signal);
    }
    await this.#release();
  }

  async #visit(signal: AbortSignal): Promise<void> {
    const { clock, kube, ref } = this.#options;
    const startedMs = clock.monotonicMs();
    if (this.leadership !== undefined && this.#observed !== undefined) {
      await this.#renew(this.#observed.lease, startedMs, signal);
      return;
    }
    let lease: Lease;
    try {
      lease = await this.#timed(signal, (limit) => kube.get(leases, ref, limit));
    } catch (error) {
      if (!isKubeError(error, "not-found")) throw error;
      if (this.#options.mayCreate?.() === false) return;
      await this.#take(undefined, startedMs, signal);
      return;
    }
    this.#observe(lease);
    if (this.#isFree()) await this.#take(lease, startedMs, signal);
  }

  #isFree(): boolean {
    if (this.#observed === undefined) return false;
    const { lease, sinceMs } = this.#observed;
    const durationMs = (lease.spec.leaseDurationSeconds ?? 0) * 1000;
    return !lease.spec.holderIdentity || this.#options.clock.monotonicMs() >= sinceMs + durationMs;
  }

  async #take(lease: Lease | undefined, startedMs: number, signal: AbortSignal): Promise<void> {
    const { clock, kube, ref, identity } = this.#options;
    const time = microTime(clock.now());
    const spec = {
      holderIdentity: identity,
      leaseDurationSeconds: Math.round(this.#durationMs / 1000),
      acquireTime: time,
      renewTime: time,
      leaseTransitions: lease === undefined ? firstEpoch(clock.now()) : (lease.spec.leaseTransitions ?? 0) + 1,
    };
    const taken = await this.#guarded(() =>
      this.#timed(signal, (limit) =>
        lease === undefined
          ? kube.create(leases, { metadata: { name: ref.name, namespace: ref.namespace }, spec }, {}, limit)
          : kube.patch(leases, ref, { metadata: { resourceVersion: lease.metadata.resourceVersion }, spec }, { type: "merge" }, limit),
      ),
    );
    if (taken === undefined) return;
    this.#observe(taken);
    const end = new AbortController();
    const lead: Lead = {
      leadership: { epoch: spec.leaseTransitions, signal: end.signal },
      end,
      untilMs: 0,
      cancel: () => undefined,
    };
    this.#lead = lead;
    this.#extend(lead, startedMs);
    this.#options.log.info({ lease: ref.name, epoch: spec.leaseTransitions, holder: identity }, "leading");
    // An answer that came too late is no leadership.
    if (this.leadership !== undefined) this.#tell(lead.leadership);
  }

  async #renew(lease: Lease, startedMs: number, signal: AbortSignal): Promise<void> {
    const { clock, kube, ref, identity } = this.#options;
    const patch = { metadata: { resourceVersion: lease.metadata.resourceVersion }, spec: { renewTime: microTime(clock.now()) } };
    const renewed = await this.#guarded(() => this.#timed(signal, (limit) => kube.patch(leases, ref, patch, { type: "merge" }, limit)));
    if (renewed === undefined) {
      // Somebody wrote the lease; a leader whose own answer got lost finds its own name in it and goes on.
      const found = await this.#timed(signal, (limit) => kube.get(leases, ref, limit));
      this.#observe(found);
      const isStillOurs = found.spec.holderIdentity === identity && found.spec.leaseTransitions === this.#lead?.leadership.epoch;
      if (!isStillOurs) this.#lose("another process holds the lease");
      return;
    }
    this.#observe(renewed);
    if (this.#lead !== undefined) this.#extend(this.#lead, startedMs);
  }

  /** The write, or undefined where somebody else was quicker. */
  async #guarded(write: () => Promise<Lease>): Promise<Lease | undefined> {
    try {
      return await write();
    } catch (error) {
      if (isKubeError(error, "conflict", "already-exists", "not-found")) return undefined;
      throw error;
    }
  }

  /** Gives an attempt as much time as there is between two of them, so that one lost answer does not cost the leadership. */
  async #timed<R>(signal: AbortSignal, act: (limit: AbortSignal) => Promise<R>): Promise<R> {
    const limit = new AbortController();
    const onAbort = (): void => limit.abort(signal.reason);
    const cancel = this.#options.clock.after(Math.max(this.#retryMs, this.#renewDeadlineMs / 2), () =>
      limit.abort(new Error("The API server did not answer in time.")),
    );
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await act(limit.signal);
    } finally {
      cancel();
      signal.removeEventListener("abort", onAbort);
    }
  }

  #observe(lease: Lease): void {
    if (this.#observed?.lease.metadata.resourceVersion === lease.metadata.resourceVersion) return;
    this.#observed = { lease, sinceMs: this.#options.clock.monotonicMs() };
  }

  /** The renewal counts from when it was sent: others count from when they see it, which is later. */
  #extend(lead: Lead, sentMs: number): void {
    lead.cancel();
    lead.untilMs = sentMs + this.#renewDeadlineMs;
    lead.cancel = this.#options.clock.after(lead.untilMs - this.#options.clock.monotonicMs(), () => this.leadership);
  }

  #lose(reason: string): void {
    const lead = this.#lead;
    if (lead === undefined) return;
    this.#lead = undefined;
    lead.cancel();
    this.#options.log.warn({ lease: this.#options.ref.name, epoch: lead.leadership.epoch, reason }, "no longer leading");
    lead.end.abort(new Error(`No longer leading: ${reason}.`));
    this.#tell(undefined);
  }

  async #release(): Promise<void> {
    const { clock, kube, log, ref } = this.#options;
    const lease = this.#observed?.lease;
    if (this.leadership === undefined || lease === undefined) return;
    this.#lose("this process ends");
    const time = microTime(clock.now());
    const spec = { holderIdentity: "", leaseDurationSeconds: 1, renewTime: time, acquireTime: time };
    const patch = { metadata: { resourceVersion: lease.metadata.resourceVersion }, spec };
    try {
      await this.#timed(new AbortController().signal, (limit) => kube.patch(leases, ref, patch, { type: "merge" }, limit));
    } catch (error) {
      // The successor waits for the lease to end instead.
      log.warn({ err: error, lease: ref.name }, "giving the lease back failed");
    }
  }

  #tell(leadership: Leadership | undefined): void {
    for (const handler of this.#handlers) {
      try {
        handler(leadership);
      } catch (error) {
        this.#options.log.error({ err: error }, "handler of a leadership change failed");
      }
    }
  }
}

/** RFC 3339 with six fraction digits: the API server refuses a Lease with three. */
export function microTime(date: Date): string {
  return date.toISOString().replace("Z", "000Z");
}

/**
 * Where a new Lease starts to count: seconds since 2020, so that a Lease that was deleted and made again goes on above the
 * epochs that running agents have seen. Fits the 31 bits of `leaseTransitions` until 2088.
 */
function firstEpoch(now: Date): number {
  return Math.max(1, Math.floor((now.getTime() - Date.UTC(2020, 0, 1)) / 1000));
}

import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import type { DesiredFaults, Fault, Order, Report } from "../proto/gen/agent.ts";
import { type Carrier, NotTakenBackError } from "./carrier.ts";
import { checkDesired, isOlder } from "./desired.ts";
import { type HeldFault, holdFault, nextChangeMs, passTime, remainingMs, renewLease, reportFault } from "./held-fault.ts";

/** What a caller asked for contradicts what the agent knows, or is no sane request at all. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  readonly kind: "stale" | "wrong-target" | "invalid";

  constructor(kind: RefusedError["kind"], message: string) {
    super(message);
    this.kind = kind;
  }
}

export interface AgentOptions {
  /** UID of the pod, or node/NAME. */
  readonly targetUid: string;
  readonly version: string;
  readonly carrier: Carrier;
  readonly clock: Clock;
  readonly log: Log;
  /** Called after each visit to the kernel, with what is known and wanted then and what the faults in force compile to. */
  readonly onVisited?: ((report: Report, wanted: readonly Fault[], compiled: unknown) => void) | undefined;
}

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 10_000;
const RECEIPTS_EVERY_MS = 2_000;
const APPLY_FAILED = "ApplyFailed";
const RECOVER_FAILED = "RecoverFailed";

/**
 * Keeps its targets equal to what the controller wants, for as long as deadline and lease of each fault last. All work on them goes
 * through one chain; every public method may be called at any time.
 */
export class Agent {
  readonly #options: AgentOptions;
  #order: Order = { leaderEpoch: 0, generation: 0 };
  #held: ReadonlyMap<string, HeldFault> = new Map();
  /** Faults that the last Apply took back, kept so that its answer has their last receipts. */
  #removed: readonly HeldFault[] = [];
  /** Faults that are to be gone and may still be in force, by id, with what went wrong. */
  #stuck: ReadonlyMap<string, string> = new Map();
  #work: Promise<void> = Promise.resolve();
  #isWorkQueued = false;
  #retryMs = FIRST_RETRY_MS;
  #cancelTimer: () => void = () => undefined;
  #cancelReceipts: () => void = () => undefined;
  readonly #watchers = new Set<(report: Report) => void>();
  #isClosed = false;

  constructor(options: AgentOptions) {
    this.#options = options;
    options.carrier.onChange(() => void this.#converge());
  }

  /** Converges to the complete set of faults and reports. Throws RefusedError for a set that is stale, for somebody else or malformed. */
  async apply(desired: DesiredFaults): Promise<Report> {
    this.#mustBeOpen();
    const order = this.#admit(desired);
    this.#order = order;
    const nowMs = this.#options.clock.monotonicMs();
    const wanted = new Map(desired.faults.map((fault) => [fault.id, holdFault(fault, nowMs, this.#held.get(fault.id))] as const));
    this.#removed = [
      ...[...this.#held.values()]
        .filter(({ fault }) => !wanted.has(fault.id))
        .map((held): HeldFault => ({ ...held, outcome: { is: "ended" } })),
      // Not gone yet: it is told until it is.
      ...this.#removed.filter(({ fault }) => this.#stuck.has(fault.id) && !wanted.has(fault.id) && !this.#held.has(fault.id)),
    ];
    this.#held = wanted;
    this.#retryMs = FIRST_RETRY_MS;
    await this.#converge();
    return this.report();
  }

  /**
   * Renews every lease; resolves once the kernel's clock has them, too. Throws RefusedError when an older leader speaks, or one that means
   * another target.
   */
  heartbeat({ targetUid, leaderEpoch }: { readonly targetUid: string; readonly leaderEpoch: number }): Promise<void> {
    this.#mustBeOpen();
    this.#checkTarget(targetUid);
    if (leaderEpoch < this.#order.leaderEpoch) {
      throw new RefusedError("stale", `Leader epoch ${leaderEpoch} is over; ${this.#order.leaderEpoch} was seen.`);
    }
    const nowMs = this.#options.clock.monotonicMs();
    this.#held = mapValues(this.#held, (held) => renewLease(passTime(held, nowMs), nowMs));
    return this.#converge();
  }

  /** Everything known now. */
  report(): Report {
    const { carrier, clock, targetUid, version } = this.#options;
    const nowMs = clock.monotonicMs();
    return {
      targetUid,
      order: this.#order,
      faults: [...this.#held.values(), ...this.#removed].map((held) =>
        reportFault(this.#asItIs(held), nowMs, { remark: carrier.remarkOf(held.fault), resolved: [...carrier.resolvedOf(held.fault)] }),
      ),
      agentVersion: version,
      passport: carrier.passport,
    };
  }

  /** Calls back with a report after each change. The returned function ends it. */
  watch(onReport: (report: Report) => void): () => void {
    this.#watchers.add(onReport);
    this.#armReceipts();
    return () => {
      this.#watchers.delete(onReport);
      if (this.#watchers.size === 0) this.#cancelReceipts();
    };
  }

  /** Takes everything back and ends. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelReceipts();
    this.#cancelTimer();
    this.#held = new Map();
    await this.#converge();
    await this.#options.carrier.close();
  }

  /** A fault that could not be taken back has not ended, whatever time or the controller say. */
  #asItIs(held: HeldFault): HeldFault {
    const message = this.#stuck.get(held.fault.id);
    return message === undefined || held.outcome.is === "wanted"
      ? held
      : { ...held, outcome: { is: "failed", reason: RECOVER_FAILED, message } };
  }

  #admit(desired: DesiredFaults): Order {
    this.#checkTarget(desired.targetUid);
    const problem = checkDesired(desired);
    if (problem !== undefined) throw new RefusedError("invalid", problem);
    const order = desired.order ?? { leaderEpoch: 0, generation: 0 };
    if (isOlder(order, this.#order)) {
      const show = ({ leaderEpoch, generation }: Order): string => `${leaderEpoch}.${generation}`;
      throw new RefusedError(
        "stale",
        `Order ${show(order)} is older than ${show(this.#order)}, which was seen before. Nothing was changed.`,
      );
    }
    return order;
  }

  /** What came while everything is taken back would be applied again, and nobody would be there to take it back. */
  #mustBeOpen(): void {
    if (this.#isClosed) throw new RefusedError("stale", "This agent ends.");
  }

  #checkTarget(targetUid: string): void {
    if (targetUid !== this.#options.targetUid)
      throw new RefusedError("wrong-target", `This is the agent of ${this.#options.targetUid}, another one was meant.`);
  }

  /** Queues a visit unless one waits already; resolves once the kernel was visited with what is wanted now. */
  #converge(): Promise<void> {
    if (!this.#isWorkQueued) {
      this.#isWorkQueued = true;
      this.#work = this.#work.then(() => {
        this.#isWorkQueued = false;
        return this.#visit();
      });
    }
    return this.#work;
  }

  /** One visit: what time did, what is wanted, what was done. Never throws. */
  async #visit(): Promise<void> {
    const { carrier, clock, log } = this.#options;
    this.#held = mapValues(this.#held, (held) => passTime(held, clock.monotonicMs()));
    const isWanted = ({ outcome }: HeldFault): boolean => outcome.is === "wanted" || outcome.is === "failed";
    await carrier.prepare([...this.#held.values()].filter(isWanted).map(({ fault }) => fault));
    const inForce = [...this.#held.values()].filter(isWanted);
    const heldOf = new Map(inForce.map((held) => [held.fault, held]));
    const wantedIds = new Set(inForce.map(({ fault }) => fault.id));
    let applied: readonly Fault[] = [];
    try {
      const refusals = await carrier.converge([...heldOf.keys()], {
        remainingMs: (fault) => {
          const held = heldOf.get(fault);
          return held === undefined ? 0 : remainingMs(held, clock.monotonicMs());
        },
        beforeReplacing: () => this.#readReceipts(),
      });
      const refused = new Map(refusals.map((refusal) => [refusal.faultId, refusal]));
      this.#stuck = new Map(refusals.filter(({ faultId }) => !wantedIds.has(faultId)).map(({ faultId, message }) => [faultId, message]));
      applied = [...heldOf.keys()].filter(({ id }) => !refused.has(id));
      this.#settle(inForce, (held) => {
        const refusal = refused.get(held.fault.id);
        if (!refusal) return { ...held, outcome: { is: "wanted", isApplied: true } };
        const { reason, message, isTransient } = refusal;
        return { ...held, outcome: isTransient === true ? { is: "failed", reason, message } : { is: "refused", reason, message } };
      });
      if (carrier.hasReceiptsAtHand) await this.#readReceipts();
      if (this.#stuck.size === 0 && !refusals.some(({ isTransient }) => isTransient === true)) this.#retryMs = FIRST_RETRY_MS;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (error instanceof NotTakenBackError) {
        log.error({ err: error }, "faults could not be taken back; it is tried again");
        const known = [...this.#held.values(), ...this.#removed].map(({ fault }) => fault.id);
        this.#stuck = new Map(known.filter((id) => !wantedIds.has(id)).map((id) => [id, message]));
      } else {
        log.error({ err: error }, "faults could not be applied; everything was taken back and is tried again");
        this.#stuck = new Map();
      }
      this.#settle(inForce, (held) => ({ ...held, outcome: { is: "failed", reason: APPLY_FAILED, message } }));
    }
    // A visit may take long, and a frozen process does not notice: what ended meanwhile is not said to be in force.
    const nowMs = clock.monotonicMs();
    if ([...this.#held.values()].some((held) => passTime(held, nowMs) !== held)) return this.#visit();
    this.#armTimer();
    this.#notify();
    const wanted = [...this.#held.values()].map(({ fault }) => fault);
    this.#options.onVisited?.(this.report(), wanted, carrier.explain(applied));
  }

  /** Writes outcomes of a visit back, for faults that did not change meanwhile. */
  #settle(visited: readonly HeldFault[], outcome: (held: HeldFault) => HeldFault): void {
    const faults = new Set(visited.map(({ fault }) => fault));
    this.#held = mapValues(this.#held, (held) =>
      faults.has(held.fault) && (held.outcome.is === "wanted" || held.outcome.is === "failed") ? outcome(held) : held,
    );
  }

  async #readReceipts(): Promise<void> {
    const ids = [...this.#held.values(), ...this.#removed].map(({ fault }) => fault.id);
    const receipts = await this.#options.carrier.readReceipts(ids);
    const update = (held: HeldFault): HeldFault => {
      const present = receipts.get(held.fault.id);
      return present && present.matched + present.exempted >= held.present.matched + held.present.exempted ? { ...held, present } : held;
    };
    this.#held = mapValues(this.#held, update);
    this.#removed = this.#removed.map(update);
  }

  #armTimer(): void {
    this.#cancelTimer();
    if (this.#isClosed) return;
    const { clock } = this.#options;
    const changes = [...this.#held.values()].flatMap((held) => nextChangeMs(held) ?? []);
    const waits = changes.map((atMs) => atMs - clock.monotonicMs());
    if (this.#stuck.size > 0 || [...this.#held.values()].some(({ outcome }) => outcome.is === "failed")) {
      waits.push(this.#retryMs);
      this.#retryMs = Math.min(this.#retryMs * 2, LONGEST_RETRY_MS);
    }
    if (waits.length > 0) this.#cancelTimer = clock.after(Math.max(0, Math.min(...waits)), () => void this.#converge());
  }

  /** Receipts are read only while somebody listens and there is something to count. */
  #armReceipts(): void {
    this.#cancelReceipts();
    if (this.#watchers.size === 0 || this.#isClosed) return;
    this.#cancelReceipts = this.#options.clock.after(RECEIPTS_EVERY_MS, () => {
      const before = JSON.stringify(this.report().faults);
      this.#work = this.#work
        .then(() => (this.#options.carrier.isIdle ? undefined : this.#readReceipts()))
        .catch((error: unknown) => this.#options.log.warn({ err: error }, "receipts could not be read"))
        .then(() => {
          if (JSON.stringify(this.report().faults) !== before) this.#notify();
          else this.#armReceipts();
        });
    });
  }

  #notify(): void {
    const report = this.report();
    for (const onReport of this.#watchers) onReport(report);
    if ([...this.#held.values()].some(({ outcome }) => outcome.is === "wanted")) this.#armReceipts();
    else this.#cancelReceipts();
  }
}

function mapValues<V>(map: ReadonlyMap<string, V>, change: (value: V) => V): ReadonlyMap<string, V> {
  return new Map([...map].map(([key, value]) => [key, change(value)]));
}

import type { Remark } from "../agent/carrier.ts";
import type { Refusal } from "../agent/plan.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import type { Fault } from "../proto/gen/agent.ts";
import type { NodeFamily, PlacedFault } from "./node-family.ts";
import type { Skew, Skewer } from "./time/skewer.ts";

export interface TimeFaultsOptions {
  readonly skewer: Skewer;
  /** All processes of the container whose first process this is. */
  readonly processesOf: (pid: number) => Promise<readonly number[]>;
  readonly clock: Clock;
  readonly log: Log;
}

const NS_PER_SECOND = 1_000_000_000n;
/** The agent ends a fault itself; the patched code does where no agent does, so a little later. */
const LATER_MS = 1_000;
/** A process that could not be patched is tried again after this time. */
const RETRY_MS = 5_000;

/** One container whose clocks are off. */
interface Target {
  readonly containerId: string;
  readonly pid: number;
  readonly faults: readonly Fault[];
  readonly skew: Skew;
}

/** Processes of a container and what became of them when they were last looked at. */
interface Looked {
  readonly skewed: ReadonlySet<number>;
  /** Why a process could not be patched, and when it is tried again, monotonic milliseconds. */
  readonly failed: ReadonlyMap<number, { readonly reason: string; readonly againMs: number }>;
}

/** Clocks of containers that are off: all processes of each, found again every second. Several faults on one container add up, clock by clock. */
export function createTimeFaults({ skewer, processesOf, clock, log }: TimeFaultsOptions): NodeFamily {
  let targets: readonly Target[] = [];
  const looked = new Map<string, Looked>();
  /** Processes to be cleaned, with the faults that they were of. */
  const unclean = new Map<number, readonly string[]>();

  /** Patches those processes that are not, and those that failed when it is their time again. */
  async function skewAll({ containerId, pid, skew }: Target): Promise<void> {
    const nowMs = clock.monotonicMs();
    const before = looked.get(containerId)?.failed ?? new Map();
    const pids = await processesOf(pid);
    const waiting = new Map([...before].filter(([one, { againMs }]) => againMs > nowMs && pids.includes(one)));
    const outcomes = await skewer.apply(
      pids.filter((one) => !waiting.has(one)),
      skew,
    );
    for (const { pid: one, is } of outcomes) if (is === "skewed") unclean.delete(one);
    looked.set(containerId, {
      skewed: new Set(outcomes.flatMap((outcome) => (outcome.is === "skewed" ? [outcome.pid] : []))),
      failed: new Map([
        ...waiting,
        ...outcomes.flatMap((outcome) =>
          outcome.is === "failed" ? [[outcome.pid, { reason: outcome.reason, againMs: nowMs + RETRY_MS }] as const] : [],
        ),
      ]),
    });
  }

  /** Resolves with those that could not even be made native. */
  async function cleanUp(): Promise<readonly Refusal[]> {
    if (unclean.size === 0) return [];
    const refusals: Refusal[] = [];
    for (const outcome of await skewer.undo([...unclean.keys()])) {
      if (outcome.is === "failed") {
        const message = `The clocks of process ${outcome.pid} could not be put right: ${outcome.reason}`;
        for (const faultId of unclean.get(outcome.pid) ?? [])
          refusals.push({ faultId, reason: "RecoverFailed", message, isTransient: true });
      } else if (outcome.is !== "inert") unclean.delete(outcome.pid);
    }
    return refusals;
  }

  return {
    name: "time",
    missing: skewer.missing,
    async converge(faults, remainingMs) {
      const refusals: Refusal[] = [];
      const wanted: Target[] = [];
      for (const placed of Map.groupBy(faults, ({ container }) => container.id).values()) {
        const problem = problemWithAll(placed, skewer);
        if (problem !== undefined)
          for (const { fault } of placed) refusals.push({ faultId: fault.id, reason: "InvalidOffset", message: problem });
        else wanted.push(targetOf(placed, clock.monotonicMs(), remainingMs));
      }
      const kept = new Set(wanted.map(({ containerId }) => containerId));
      for (const { containerId, faults: old } of targets) {
        if (kept.has(containerId)) continue;
        for (const pid of looked.get(containerId)?.skewed ?? [])
          unclean.set(
            pid,
            old.map(({ id }) => id),
          );
        looked.delete(containerId);
      }
      targets = wanted;
      for (const target of wanted) {
        await skewAll(target);
        const { skewed, failed } = looked.get(target.containerId) ?? { skewed: new Set(), failed: new Map() };
        if (skewed.size > 0 || failed.size === 0) continue;
        const message = explainFailures(failed);
        for (const { id } of target.faults) refusals.push({ faultId: id, reason: "SkewFailed", message, isTransient: true });
      }
      return [...refusals, ...(await cleanUp())];
    },
    async look() {
      for (const target of targets) await skewAll(target);
      const refusals = await cleanUp();
      if (refusals.length > 0)
        log.warn({ why: refusals.map(({ message }) => message) }, "clocks could not be put right; it is tried again");
    },
    get isBusy() {
      return targets.length > 0 || unclean.size > 0;
    },
    remarkOf(faultId): Remark | undefined {
      const target = targets.find(({ faults }) => faults.some(({ id }) => id === faultId));
      const { skewed, failed } = looked.get(target?.containerId ?? "") ?? { skewed: new Set(), failed: new Map() };
      if (failed.size === 0) return undefined;
      return {
        reason: "PartlySkewed",
        message: `${failed.size} of ${failed.size + skewed.size} processes have their own clocks. ${explainFailures(failed)}`,
      };
    },
    receiptOf(faultId) {
      const target = targets.find(({ faults }) => faults.some(({ id }) => id === faultId));
      const processes = looked.get(target?.containerId ?? "")?.skewed.size;
      return Promise.resolve(processes === undefined ? undefined : { processes });
    },
    async recover() {
      skewer.recover();
      for (const pid of skewer.findPatched()) unclean.set(pid, []);
      const found = unclean.size;
      await cleanUp();
      if (found > 0) log.info({ processes: found, left: unclean.size }, "clocks that an earlier life had skewed were put right");
    },
  };
}

function explainFailures(failed: Looked["failed"]): string {
  const [first] = failed.values();
  return failed.size === 1 ? (first?.reason ?? "") : `${first?.reason ?? ""} And ${failed.size - 1} more.`;
}

/** The sum of all faults of one container, for as long as the one that ends first. */
function targetOf(placed: readonly PlacedFault[], nowMs: number, remainingMs: (fault: Fault) => number): Target {
  const faults = placed.map(({ fault }) => fault);
  const [first] = placed;
  return {
    containerId: first?.container.id ?? "",
    pid: first?.container.pid ?? 0,
    faults,
    skew: { offsetsNs: sumOf(faults), untilMs: nowMs + Math.min(...faults.map(remainingMs)) + LATER_MS },
  };
}

function sumOf(faults: readonly Fault[]): ReadonlyMap<number, bigint> {
  const sums = new Map<number, bigint>();
  for (const { family } of faults) {
    if (family?.$case !== "time") continue;
    const { seconds, nanos, clockIds } = family.value;
    const offsetNs = BigInt(seconds) * NS_PER_SECOND + BigInt(nanos);
    for (const clockId of clockIds) sums.set(clockId, (sums.get(clockId) ?? 0n) + offsetNs);
  }
  return sums;
}

/** What came over the wire is not trusted. */
function problemWithAll(placed: readonly PlacedFault[], skewer: Skewer): string | undefined {
  for (const { fault } of placed) {
    if (fault.family?.$case !== "time") return "The fault says nothing of clocks.";
    const { seconds, nanos, clockIds } = fault.family.value;
    const isSane = Number.isSafeInteger(seconds) && Number.isInteger(nanos) && nanos >= 0 && nanos < 1e9;
    if (!isSane) return `${seconds} s and ${nanos} ns are no offset.`;
    const unknown = clockIds.find((clockId) => !Number.isInteger(clockId) || clockId < 0 || clockId > 9);
    if (unknown !== undefined || clockIds.length === 0)
      return `There is no clock ${unknown ?? "in the fault"}; clock_gettime(2) counts from 0 to 9.`;
  }
  for (const [clockId, offsetNs] of sumOf(placed.map(({ fault }) => fault))) {
    const problem = skewer.problemWith(clockId, offsetNs);
    if (problem !== undefined) return `All experiments on the container together shift clock ${clockId} too far. ${problem}`;
  }
  return undefined;
}

import type { Remark } from "../agent/carrier.ts";
import type { Refusal } from "../agent/plan.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import type { Fault } from "../proto/gen/agent.ts";
import { type NodeFamily, onContainers, type PlacedFault } from "./node-family.ts";
import type { OpenedSkewer } from "./time/open-skewer.ts";
import { problemWithSkew, type Skew } from "./time/skew-table.ts";
import type { Skewer } from "./time/skewer.ts";
import { type ProcessIdentity, readIdentity } from "./time/target-process.ts";

export interface TimeFaultsOptions {
  readonly opened: OpenedSkewer;
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
/** Each turn finds what was forked during the one before; nothing is forked from a native process that is not native. */
const MOST_TURNS = 4;

/** One container whose clocks are off. */
interface Target {
  readonly containerId: string;
  readonly pid: number;
  /** With the pid, the identity of its first process. */
  readonly startTicks: string | undefined;
  readonly faults: readonly Fault[];
  readonly skew: Skew;
}

/** Processes of a container and what became of them when they were last looked at. */
interface Looked {
  readonly skewed: readonly ProcessIdentity[];
  /** Why a process could not be patched, and when it is tried again, monotonic milliseconds; by pid. */
  readonly failed: ReadonlyMap<number, { readonly reason: string; readonly againMs: number }>;
}

const nothingSeen: Looked = { skewed: [], failed: new Map() };

/** Clocks of containers that are off: all processes of each, found again every second. Several faults on one container add up, clock by clock. */
export function createTimeFaults({ opened, processesOf, clock, log }: TimeFaultsOptions): NodeFamily {
  if (opened.missing !== undefined) return createIdleFamily(opened.missing);
  return createWorkingFamily(opened.skewer, { processesOf, clock, log });
}

/** A node on which clocks cannot be skewed has none that are. */
function createIdleFamily(missing: string): NodeFamily {
  return {
    ...onContainers,
    name: "time",
    missing,
    isBusy: false,
    converge: () => Promise.resolve([]),
    look: () => Promise.resolve(),
    remarkOf: () => undefined,
    receiptOf: () => Promise.resolve(undefined),
    recover: () => Promise.resolve(),
  };
}

function createWorkingFamily(skewer: Skewer, { processesOf, clock, log }: Omit<TimeFaultsOptions, "opened">): NodeFamily {
  let targets: readonly Target[] = [];
  const looked = new Map<string, Looked>();
  /** Processes to be cleaned, with the faults that they were of; by pid and start. */
  const unclean = new Map<string, { readonly process: ProcessIdentity; readonly faultIds: readonly string[] }>();

  /** Processes of the container. Throws when its first one has ended: its pid, and with it the group, may be somebody else's by now. */
  async function listProcesses({ pid, startTicks }: Target): Promise<readonly number[]> {
    const isThere = (): boolean => startTicks !== undefined && readIdentity(pid)?.startTicks === startTicks;
    const pids = isThere() ? await processesOf(pid) : [];
    if (!isThere()) throw new Error("The container's first process has ended.");
    return pids;
  }

  /** Patches those processes that are not, and those that failed when it is their time again. */
  async function skewAll(target: Target): Promise<void> {
    const { containerId, skew } = target;
    const nowMs = clock.monotonicMs();
    const { failed: before } = looked.get(containerId) ?? nothingSeen;
    const pids = await listProcesses(target);
    const waiting = new Map([...before].filter(([one, { againMs }]) => againMs > nowMs && pids.includes(one)));
    const due = pids.filter((one) => !waiting.has(one)).flatMap((one) => readIdentity(one) ?? []);
    const outcomes = await skewer.apply(due, skew);
    const skewed = outcomes.filter(({ is }) => is === "done");
    for (const process of skewed) unclean.delete(keyOf(process));
    const failed = outcomes.flatMap((outcome) =>
      outcome.is === "failed" || outcome.is === "inert"
        ? [[outcome.pid, { reason: `Process ${outcome.pid}: ${outcome.reason}`, againMs: nowMs + RETRY_MS }] as const]
        : [],
    );
    looked.set(containerId, { skewed, failed: new Map([...waiting, ...failed]) });
  }

  /** Notes every process of a container to be cleaned, those included that were forked since the last look; resolves with how many are new. */
  async function release(target: Target): Promise<number> {
    const faultIds = target.faults.map(({ id }) => id);
    const before = unclean.size;
    // Of a container whose first process has ended the others are ending, too.
    const now = await listProcesses(target).catch(() => []);
    const known = (looked.get(target.containerId) ?? nothingSeen).skewed;
    for (const process of [...known, ...now.flatMap((pid) => readIdentity(pid) ?? [])]) unclean.set(keyOf(process), { process, faultIds });
    return unclean.size - before;
  }

  /** Cleans containers up; a process that was forked from a skewed one meanwhile is found by another look. */
  async function releaseAll(released: readonly Target[]): Promise<readonly Refusal[]> {
    const seen = new Set<string>();
    let refusals: readonly Refusal[] = [];
    for (let turn = 0; turn < MOST_TURNS; turn += 1) {
      for (const target of released) await release(target);
      const fresh = [...unclean.keys()].filter((key) => !seen.has(key));
      if (turn > 0 && fresh.length === 0) break;
      for (const key of unclean.keys()) seen.add(key);
      refusals = await cleanUp();
      for (const { containerId } of released) looked.delete(containerId);
    }
    return refusals;
  }

  /** Resolves with those that could not even be made native. */
  async function cleanUp(): Promise<readonly Refusal[]> {
    if (unclean.size === 0) return [];
    const refusals: Refusal[] = [];
    for (const outcome of await skewer.undo([...unclean.values()].map(({ process }) => process))) {
      const key = keyOf(outcome);
      if (outcome.is === "failed") {
        const message = `The clocks of process ${outcome.pid} could not be put right: ${outcome.reason}`;
        for (const faultId of unclean.get(key)?.faultIds ?? [])
          refusals.push({ faultId, reason: "RecoverFailed", message, isTransient: true });
      } else if (outcome.is !== "inert") unclean.delete(key);
    }
    return refusals;
  }

  return {
    ...onContainers,
    name: "time",
    missing: undefined,
    async converge(faults, remainingMs) {
      const refusals: Refusal[] = [];
      const wanted: Target[] = [];
      for (const placed of Map.groupBy(faults, ({ container }) => container.id).values()) {
        const problem = problemWithAll(placed);
        if (problem !== undefined)
          for (const { fault } of placed) refusals.push({ faultId: fault.id, reason: "InvalidOffset", message: problem });
        else wanted.push(targetOf(placed, clock.monotonicMs(), remainingMs));
      }
      const kept = new Set(wanted.map(({ containerId }) => containerId));
      const released = targets.filter(({ containerId }) => !kept.has(containerId));
      targets = wanted;
      refusals.push(...(await releaseAll(released)));
      for (const target of wanted) {
        const problem = await skewAll(target).then(() => undefined, explain);
        if (problem !== undefined) {
          for (const { id } of target.faults) refusals.push({ faultId: id, reason: "SkewFailed", message: problem, isTransient: true });
          continue;
        }
        const { skewed, failed } = looked.get(target.containerId) ?? nothingSeen;
        if (skewed.length > 0 || failed.size === 0) continue;
        const message = explainFailures(failed);
        for (const { id } of target.faults) refusals.push({ faultId: id, reason: "SkewFailed", message, isTransient: true });
      }
      return refusals;
    },
    async look() {
      for (const target of targets)
        await skewAll(target).catch((error: unknown) => log.debug({ err: error }, "a container could not be looked at"));
      const refusals = await cleanUp();
      if (refusals.length > 0)
        log.warn({ why: refusals.map(({ message }) => message) }, "clocks could not be put right; it is tried again");
    },
    get isBusy() {
      return targets.length > 0 || unclean.size > 0;
    },
    remarkOf(faultId): Remark | undefined {
      const target = targets.find(({ faults }) => faults.some(({ id }) => id === faultId));
      const { skewed, failed } = looked.get(target?.containerId ?? "") ?? nothingSeen;
      if (failed.size === 0) return undefined;
      return {
        reason: "PartlySkewed",
        message: `${failed.size} of ${failed.size + skewed.length} processes have their own clocks. ${explainFailures(failed)}`,
      };
    },
    receiptOf(faultId) {
      const target = targets.find(({ faults }) => faults.some(({ id }) => id === faultId));
      const processes = looked.get(target?.containerId ?? "")?.skewed.length;
      return Promise.resolve(processes === undefined ? undefined : { processes });
    },
    async recover() {
      for (const process of await skewer.find()) if (process.state !== "foreign") unclean.set(keyOf(process), { process, faultIds: [] });
      const found = unclean.size;
      await cleanUp();
      if (found > 0) log.info({ processes: found, left: unclean.size }, "clocks that an earlier life had skewed were put right");
    },
  };
}

const explain = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const keyOf = ({ pid, startTicks }: ProcessIdentity): string => `${pid} ${startTicks}`;

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
    startTicks: readIdentity(first?.container.pid ?? 0)?.startTicks,
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
function problemWithAll(placed: readonly PlacedFault[]): string | undefined {
  for (const { fault } of placed) {
    if (fault.family?.$case !== "time") return "The fault says nothing of clocks.";
    const { seconds, nanos, clockIds } = fault.family.value;
    const isSane = Number.isSafeInteger(seconds) && Number.isInteger(nanos) && nanos >= 0 && nanos < 1e9;
    if (!isSane) return `${seconds} s and ${nanos} ns are no offset.`;
    const unknown = clockIds.find((clockId) => !Number.isInteger(clockId) || clockId < 0 || clockId > 9);
    if (unknown !== undefined || clockIds.length === 0)
      return `There is no clock ${unknown ?? "in the fault"}; clock_gettime(2) counts from 0 to 9.`;
  }
  const problem = problemWithSkew({ offsetsNs: sumOf(placed.map(({ fault }) => fault)), untilMs: 0 });
  return problem === undefined ? undefined : `All experiments on the container together: ${problem}`;
}

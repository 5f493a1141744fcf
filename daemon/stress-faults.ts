import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { Refusal } from "../agent/plan.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import type { Fault } from "../proto/gen/agent.ts";
import type { StressFault as StressMessage } from "../proto/gen/faults.ts";
import { type NodeFamily, onContainers, type PlacedFault } from "./node-family.ts";
import { sweepStress } from "./stress/marked.ts";
import type { RunningStress } from "./stress/running-stress.ts";
import { startStress, type StressTools } from "./stress/start-stress.ts";
import { parseStressFault } from "./stress-message.ts";

export interface StressFaultsOptions extends StressTools {
  /** Why containers of this node cannot be stressed; undefined where they can. */
  readonly missing: string | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** Stress of one fault in one container. */
interface Running {
  readonly faultId: string;
  readonly containerId: string;
  readonly message: StressMessage;
  readonly stress: RunningStress;
  /** What stress-ng said when it had done what it was told, before the fault was over. */
  finished: string | undefined;
}

/** Stress in containers: for each fault its own workers, that end when the fault, the container or this process does. */
export function createStressFaults({ missing, clock, log, ...tools }: StressFaultsOptions): NodeFamily {
  const running = new Map<string, Running>();
  /** When a fault ends for good, by its id, monotonic milliseconds: a message says it as of its receipt. */
  const deadlines = new Map<string, number | undefined>();

  async function stop({ faultId, stress }: Running): Promise<Refusal | undefined> {
    try {
      await stress.stop();
      running.delete(faultId);
      return undefined;
    } catch (error) {
      return { faultId, reason: "RecoverFailed", message: error instanceof Error ? error.message : String(error), isTransient: true };
    }
  }

  async function start({ fault, container }: PlacedFault): Promise<Refusal | undefined> {
    const faultId = fault.id;
    const message = fault.family?.$case === "stress" ? fault.family.value : undefined;
    const parsed = message === undefined ? "The fault says nothing of stress." : parseStressFault(message);
    if (message === undefined || typeof parsed === "string")
      return { faultId, reason: "InvalidStress", message: typeof parsed === "string" ? parsed : "" };
    const order = { id: nameOf(faultId), pid: container.pid, fault: parsed, untilMs: deadlines.get(faultId) };
    const started = await startStress(order, { ...tools, clock });
    if (started.is === "refused")
      return { faultId, reason: "StressRefused", message: started.problems.join(" "), isTransient: started.isTransient };
    const { stress } = started;
    const own: Running = { faultId, containerId: container.id, message, stress, finished: undefined };
    running.set(faultId, own);
    stress.ended.then(
      (end) => {
        if (end.why === "finished") own.finished = end.message;
      },
      () => undefined, // told to whoever stops it
    );
    return undefined;
  }

  const isCurrent = ({ fault, container }: PlacedFault): boolean => {
    const found = running.get(fault.id);
    return found?.containerId === container.id && fault.family?.$case === "stress" && isDeepStrictEqual(found.message, fault.family.value);
  };

  function noteDeadlines(faults: readonly PlacedFault[]): void {
    const ids = new Set(faults.map(({ fault }) => fault.id));
    // One that is away for a moment, as its container is, keeps its end: the message is as old as ever.
    for (const [id, deadlineMs] of deadlines)
      if (!ids.has(id) && (deadlineMs === undefined || deadlineMs < clock.monotonicMs())) deadlines.delete(id);
    for (const { fault } of faults)
      if (!deadlines.has(fault.id))
        deadlines.set(fault.id, fault.remainingMs === undefined ? undefined : clock.monotonicMs() + fault.remainingMs);
  }

  return {
    ...onContainers,
    name: "stress",
    missing,
    get isBusy() {
      return running.size > 0;
    },
    async converge(faults) {
      noteDeadlines(faults);
      const current = new Set(faults.filter(isCurrent).map(({ fault }) => fault.id));
      const stopped = await Promise.all([...running.values()].filter(({ faultId }) => !current.has(faultId)).map(stop));
      const stuck = new Set(stopped.flatMap((refusal) => refusal?.faultId ?? []));
      const due = faults.filter(({ fault }) => !current.has(fault.id) && !stuck.has(fault.id));
      const started = await Promise.all(due.map(start));
      return [...stopped, ...started].filter((refusal) => refusal !== undefined);
    },
    look: () => Promise.resolve(), // each looks after itself
    remarkOf(faultId) {
      const { oomKills, message } = running.get(faultId)?.stress.receipt ?? { oomKills: 0, message: undefined };
      const finished = running.get(faultId)?.finished;
      if (finished !== undefined) return { reason: "StressFinished", message: finished };
      if (message === undefined) return undefined;
      return { reason: oomKills > 0 ? "OomKilled" : "PartlyStressed", message };
    },
    receiptOf(faultId) {
      const receipt = running.get(faultId)?.stress.receipt;
      return Promise.resolve(receipt === undefined ? undefined : { processes: receipt.workers, oomKills: receipt.oomKills });
    },
    async recover() {
      const count = await sweepStress();
      if (count > 0) log.info({ processes: count }, "stressors that an earlier life had left were ended");
    },
  };
}

/** Short, and of the letters that the name of a stress may have. */
const nameOf = (faultId: Fault["id"]): string => createHash("sha256").update(faultId).digest("hex").slice(0, 16);

import type { Clock } from "../../common/clock.ts";
import type { CgroupTree } from "../cgroup/cgroup-tree.ts";
import { Crew } from "./crew.ts";
import { planStress, type StressProcess } from "./plan.ts";
import { RunningStress } from "./running-stress.ts";
import type { StressFault } from "./stress-fault.ts";
import type { OomScore } from "./stressor.ts";
import { readTarget, type StressTarget } from "./target.ts";

export interface StressOrder {
  /** Names the stress: letters, digits, dashes. One of that name at a time. */
  readonly id: string;
  /** The first process of the target container, in the node's pid namespace. */
  readonly pid: number;
  readonly fault: StressFault;
  /** By the clock's monotonicMs; undefined for no end. Workers end then even if this process stands still. */
  readonly untilMs: number | undefined;
}

export interface StressTools {
  readonly cgroups: CgroupTree;
  readonly clock: Clock;
  /** A folder that everybody may write to. Nobody does, but stress-ng insists. */
  readonly scratchFolder: string;
}

export type StartedStress =
  | { readonly is: "running"; readonly stress: RunningStress }
  /** Nothing runs; sentences for the user. */
  | { readonly is: "refused"; readonly problems: readonly string[]; readonly isTransient: boolean };

/** Starts all that a fault means for a container, or nothing. */
export async function startStress(
  { id, pid, fault, untilMs }: StressOrder,
  { cgroups, clock, scratchFolder }: StressTools,
): Promise<StartedStress> {
  const target = await readTarget(pid, cgroups).catch((error: unknown) => messageOf(error));
  if (typeof target === "string") return { is: "refused", problems: [target], isTransient: true };
  const plan = planStress(fault, target.facts);
  if (plan.is === "refused") return plan;
  const crews = plan.processes.map(
    (process, index) => new Crew(process, { ...target, mark: `${id}.${index}`, oomScoreAdj: oomScoreOf(process, target), scratchFolder }),
  );
  const stress = new RunningStress({ target, processes: plan.processes, crews, untilMs, clock });
  try {
    const problem = await stress.start();
    return problem === undefined ? { is: "running", stress } : { is: "refused", problems: [problem], isTransient: false };
  } catch (error) {
    return { is: "refused", problems: [messageOf(error)], isTransient: true };
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Unless the user says otherwise, a worker is as likely a victim as the container's own processes. */
function oomScoreOf(process: StressProcess, target: StressTarget): OomScore {
  return process.what === "memory" && process.oomScoreAdj !== 0
    ? { value: process.oomScoreAdj, isRequired: true }
    : { value: target.oomScoreAdj, isRequired: false };
}

import type { Log } from "../common/log.ts";
import { type Act, joinCommands, planActs, planUndo } from "./acts.ts";
import { NotTakenBackError } from "./carrier.ts";
import type { FaultFamily } from "./family.ts";
import type { Journal } from "./journal.ts";
import type { Command, Plan, Step } from "./plan.ts";
import type { Programs } from "./programs.ts";

export interface ExecutorOptions {
  readonly family: Pick<FaultFamily, "warmUpEngine" | "runEngine" | "sweep">;
  readonly programs: Pick<Programs, "startAhead" | "run">;
  readonly journal: Journal;
  readonly log: Log;
}

/** The command that sets the kernel-held clock to what is left at this moment; undefined where nothing is. */
export type PlanClock = () => Command | undefined;

/** Carries plans out. One call at a time: its caller sees to that. */
export interface Executor {
  /**
   * Moves the target to the wanted plan. Each undo is on disk before its step runs, so a crash anywhere leaves a way back. What `planClock` gives
   * is run where a step says so; it is asked right before, for a process may stand still between any two lines. When anything fails, everything
   * is taken back and the error thrown: NotTakenBackError when that fails, too.
   */
  converge(wanted: Plan, planClock: PlanClock): Promise<void>;
  /** Steps in force. */
  readonly current: readonly Step[];
}

/** How acts follow one another. */
interface Course {
  readonly planClock: PlanClock;
  readonly beforeFirst: () => Promise<void>;
  readonly onBegin: (act: Act) => void;
  /** Throws where the acts after it are not to follow. */
  readonly onFailure: (error: unknown) => void;
}

export function createExecutor({ family, programs, journal, log }: ExecutorOptions): Executor {
  let current: readonly Step[] = [];

  async function run(command: Command): Promise<void> {
    log.debug({ argv: command.argv, stdin: command.stdin }, "command");
    await programs.run(command);
  }

  async function carryOut(act: Act, planClock: PlanClock): Promise<void> {
    if (act.do === "engine") return family.runEngine(act.rules);
    const clock = act.thenClock ? planClock() : undefined;
    for (const command of joinCommands(clock === undefined ? act.commands : [...act.commands, clock])) await run(command);
  }

  /** Loads the first program that these acts need. */
  function startAhead(acts: readonly Act[]): () => void {
    const next = acts.find((act) => act.do === "run");
    return next?.argv === undefined ? () => undefined : programs.startAhead(next.argv);
  }

  /** One after the other; the next program is loaded while one works. */
  async function carryOutAll(acts: readonly Act[], { planClock, beforeFirst, onBegin, onFailure }: Course): Promise<void> {
    let cancel = startAhead(acts);
    try {
      await beforeFirst();
      for (const [index, act] of acts.entries()) {
        onBegin(act);
        const work = carryOut(act, planClock).catch(onFailure);
        cancel = startAhead(acts.slice(index + 1));
        await work;
      }
    } finally {
      cancel();
    }
  }

  /** What fails is left to the sweep, which needs no memory of what was done. */
  async function takeBackAll(): Promise<void> {
    let isClean = true;
    await carryOutAll(planUndo(current), {
      planClock: () => undefined,
      beforeFirst: () => Promise.resolve(),
      onBegin: () => undefined,
      onFailure(error) {
        isClean = false;
        log.warn({ err: error }, "a step could not be taken back by its own undo");
      },
    });
    if (!isClean) return takeBackEverything();
    current = [];
    await journal.clear();
  }

  async function moveTo(wanted: readonly Step[], planClock: PlanClock): Promise<void> {
    const acts = planActs(current, wanted);
    const changed = acts.flatMap(({ steps }) => steps);
    if (changed.some((step) => step.do === "engine")) family.warmUpEngine();
    await carryOutAll(acts, {
      planClock,
      beforeFirst: () => journal.add(changed.flatMap((step) => (step.do === "run" ? [step.undo] : []))),
      onBegin({ steps }) {
        // What may be half done counts as done, so that taking back covers it.
        const begun = new Set(steps.map(({ id }) => id));
        current = [...current.filter(({ id }) => !begun.has(id)), ...steps];
      },
      onFailure(error) {
        throw error;
      },
    });
    current = wanted;
  }

  return {
    get current() {
      return current;
    },
    async converge(wanted, planClock) {
      if (wanted.steps.length === 0) {
        if (current.length > 0) await takeBackAll();
        return;
      }
      const before = current;
      try {
        await moveTo(wanted.steps, planClock);
      } catch (error) {
        // Steps of the old plan that were not reached yet are still in force.
        const reached = new Set(current.map(({ id }) => id));
        current = [...before.filter(({ id }) => !reached.has(id)), ...current];
        await takeBackEverything();
        throw error;
      }
    },
  };

  /** After a failure nobody knows how far a step came: the sweep decides, whatever the undo commands say. */
  async function takeBackEverything(): Promise<void> {
    await family.runEngine(undefined).catch((error: unknown) => log.warn({ err: error }, "the engine could not be stopped"));
    await family.sweep().catch((error: unknown) => {
      throw new NotTakenBackError(error);
    });
    current = [];
    await journal.clear();
  }
}

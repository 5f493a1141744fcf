import { isDeepStrictEqual } from "node:util";
import type { Log } from "../common/log.ts";
import { NotTakenBackError } from "./carrier.ts";
import type { FaultFamily } from "./family.ts";
import type { Journal } from "./journal.ts";
import type { Command, Plan, Step } from "./plan.ts";
import type { Programs } from "./programs.ts";

export interface ExecutorOptions {
  readonly family: Pick<FaultFamily, "runEngine" | "sweep">;
  readonly programs: Pick<Programs, "run">;
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

export function createExecutor({ family, programs, journal, log }: ExecutorOptions): Executor {
  let current: readonly Step[] = [];

  async function run(command: Command): Promise<void> {
    log.debug({ argv: command.argv, stdin: command.stdin }, "command");
    await programs.run(command);
  }

  async function apply(step: Step, old: Step | undefined, planClock: PlanClock): Promise<void> {
    switch (step.do) {
      case "engine":
        return family.runEngine(step.rules);
      case "run": {
        await journal.add(step.undo);
        const commands = [commandOver(old, step), step.thenClock === true ? planClock() : undefined].filter(
          (command) => command !== undefined,
        );
        for (const command of join(commands)) await run(command);
      }
    }
  }

  const takeBack = (step: Step): Promise<void> => (step.do === "engine" ? family.runEngine(undefined) : run(step.undo));

  /** Newest first; what fails is left to the sweep, which needs no memory of what was done. */
  async function takeBackAll(): Promise<void> {
    let isClean = true;
    for (const step of current.toReversed()) {
      await takeBack(step).catch((error: unknown) => {
        isClean = false;
        log.warn({ err: error, step: step.id }, "a step could not be taken back by its own undo");
      });
    }
    if (!isClean) return takeBackEverything();
    current = [];
    await journal.clear();
  }

  async function moveTo(wanted: readonly Step[], planClock: PlanClock): Promise<void> {
    const before = new Map(current.map((step) => [step.id, step]));
    for (const step of wanted) {
      const old = before.get(step.id);
      const isSame = isDeepStrictEqual(old, step);
      // What may be half done counts as done, so that taking back covers it.
      if (!isSame) current = [...current.filter(({ id }) => id !== step.id), step];
      if (!isSame) await apply(step, old, planClock);
      else if (step.do === "run" && step.thenClock === true) {
        const clock = planClock();
        if (clock) await run(clock);
      }
    }
    const kept = new Set(wanted.map(({ id }) => id));
    for (const step of [...before.values()].toReversed()) {
      if (!kept.has(step.id)) await takeBack(step);
    }
    for (const step of wanted.toReversed()) {
      const leftover = leftoverOf(before.get(step.id), step);
      if (leftover) await run(leftover);
    }
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

/** What leads to a step from an older version of it, or from nothing. */
function commandOver(old: Step | undefined, step: Extract<Step, { do: "run" }>): Command | undefined {
  if (old?.do !== "run") return step.command;
  if (step.change) return step.change;
  if (step.isAdditive !== true) return step.command;
  const known = new Set((old.command.stdin ?? "").split("\n"));
  const lines = (step.command.stdin ?? "").split("\n").filter((line) => !known.has(line));
  return lines.length === 0 ? undefined : { argv: step.command.argv, stdin: `${lines.join("\n")}\n` };
}

/** One program reads what two runs of it would. */
function join(commands: readonly Command[]): readonly Command[] {
  const [first, second] = commands;
  if (!first || !second || !isDeepStrictEqual(first.argv, second.argv)) return commands;
  return [{ argv: first.argv, stdin: `${first.stdin ?? ""}${second.stdin ?? ""}` }];
}

/** The lines of the old undo that the new one lacks: parts of the old version that nothing refers to any more. */
function leftoverOf(old: Step | undefined, step: Step): Command | undefined {
  if (old?.do !== "run" || step.do !== "run" || old.undo.stdin === undefined) return undefined;
  const kept = new Set((step.undo.stdin ?? "").split("\n"));
  const lines = old.undo.stdin.split("\n").filter((line) => line !== "" && !kept.has(line));
  return lines.length === 0 ? undefined : { argv: old.undo.argv, stdin: `${lines.join("\n")}\n` };
}

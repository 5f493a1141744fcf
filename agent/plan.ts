/** What an agent does to the kernel, as data. Planners make plans, `agent/executor.ts` carries them out. */

/** A program and its arguments, never a string to be split. The program is a name that `agent/programs.ts` knows. */
export type Argv = readonly [program: string, ...parameters: string[]];

export interface Command {
  readonly argv: Argv;
  readonly stdin?: string | undefined;
}

/**
 * One change. Two steps of the same `id` in an old and a new plan are two versions of one thing: the executor runs the new
 * one over the old one, without taking the old one back first. So a step must lead to the same state from either; lines of the
 * old undo's input that the new one lacks are run once the whole new plan is in force.
 */
export type Step =
  | {
      readonly do: "run";
      readonly id: string;
      readonly command: Command;
      /** Runs instead of `command` where an older version of this step is in force. */
      readonly change?: Command | undefined;
      /** Each line of the command's input adds something by itself: over an older version, only lines that it lacks are run. */
      readonly isAdditive?: boolean | undefined;
      readonly undo: Command;
      /** Set the kernel-held clock right after this step. */
      readonly thenClock?: boolean | undefined;
    }
  | { readonly do: "engine"; readonly id: string; readonly rules: unknown };

/** A fault that cannot be carried out on this target, with the reason; nothing of it is in the steps. Of a fault that is not wanted any more: it could not be taken back. */
export interface Refusal {
  readonly faultId: string;
  /** CamelCase. */
  readonly reason: string;
  /** One sentence: what was found and what to do. */
  readonly message: string;
  /** Whether trying again may help. */
  readonly isTransient?: boolean | undefined;
}

export interface Plan {
  readonly steps: readonly Step[];
  readonly refused: readonly Refusal[];
}

export const emptyPlan: Plan = { steps: [], refused: [] };

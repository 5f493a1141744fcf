import { isDeepStrictEqual } from "node:util";
import type { Argv, Command, Step } from "./plan.ts";

/** What is done to the kernel in one go: one engine's rules, or programs that read the input of some steps. */
export type Act =
  | { readonly do: "engine"; readonly rules: unknown; readonly steps: readonly Step[] }
  | {
      readonly do: "run";
      /** Of the first program; undefined where that is not known before the clock is asked. */
      readonly argv: Argv | undefined;
      readonly commands: readonly Command[];
      /** Whether the kernel-held clock is to be set at the end. */
      readonly thenClock: boolean;
      /** New or changed ones. */
      readonly steps: readonly Step[];
    };

/** Everything that leads from the steps in force to the wanted ones, in order: what is new, what goes, and last what nothing refers to any more. */
export function planActs(current: readonly Step[], wanted: readonly Step[]): readonly Act[] {
  const before = new Map(current.map((step) => [step.id, step]));
  const kept = new Set(wanted.map(({ id }) => id));
  return together([
    ...wanted.flatMap((step) => actOver(before.get(step.id), step)),
    ...planUndo(current.filter(({ id }) => !kept.has(id))),
    ...wanted.toReversed().flatMap((step) => {
      const leftover = leftoverOf(before.get(step.id), step);
      return leftover === undefined ? [] : [runOf(leftover)];
    }),
  ]);
}

/** Takes steps back, the newest first. */
export function planUndo(steps: readonly Step[]): readonly Act[] {
  const acts = steps
    .toReversed()
    .map((step): Act => (step.do === "engine" ? { do: "engine", rules: undefined, steps: [] } : runOf(step.undo)));
  return together(acts);
}

/** One program reads what two runs of it would. */
export function joinCommands(commands: readonly Command[]): readonly Command[] {
  return commands.reduce<readonly Command[]>((joined, command) => {
    const last = joined.at(-1);
    if (last === undefined || !isDeepStrictEqual(last.argv, command.argv)) return [...joined, command];
    return [...joined.slice(0, -1), { argv: last.argv, stdin: `${last.stdin ?? ""}${command.stdin ?? ""}` }];
  }, []);
}

const runOf = (command: Command): Act => ({ do: "run", argv: command.argv, commands: [command], thenClock: false, steps: [] });

function actOver(old: Step | undefined, step: Step): readonly Act[] {
  const isSame = isDeepStrictEqual(old, step);
  if (step.do === "engine") return isSame ? [] : [{ do: "engine", rules: step.rules, steps: [step] }];
  const thenClock = step.thenClock === true;
  if (isSame) return thenClock ? [{ do: "run", argv: undefined, commands: [], thenClock, steps: [] }] : [];
  const command = commandOver(old, step);
  return [{ do: "run", argv: command?.argv, commands: command === undefined ? [] : [command], thenClock, steps: [step] }];
}

/** Neighbours that are of one program become one. */
function together(acts: readonly Act[]): readonly Act[] {
  return acts.reduce<readonly Act[]>((joined, act) => {
    const last = joined.at(-1);
    if (last?.do !== "run" || act.do !== "run" || last.thenClock || !isDeepStrictEqual(last.argv, act.argv)) return [...joined, act];
    const both: Act = { ...act, commands: [...last.commands, ...act.commands], steps: [...last.steps, ...act.steps] };
    return [...joined.slice(0, -1), both];
  }, []);
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

/** The lines of the old undo that the new one lacks: parts of the old version that nothing refers to any more. */
function leftoverOf(old: Step | undefined, step: Step): Command | undefined {
  if (old?.do !== "run" || step.do !== "run" || old.undo.stdin === undefined) return undefined;
  const kept = new Set((step.undo.stdin ?? "").split("\n"));
  const lines = old.undo.stdin.split("\n").filter((line) => line !== "" && (isFrame(line) || !kept.has(line)));
  return lines.every(isFrame) ? undefined : { argv: old.undo.argv, stdin: `${lines.join("\n")}\n` };
}

/** Lines of iptables-restore that hold the others together: a table's name, and its end. */
const isFrame = (line: string): boolean => line.startsWith("*") || line === "COMMIT";

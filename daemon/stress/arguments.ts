import { generalFlags, generalValues, shortOptions, type Stressor, stressors } from "./stressors.ts";

/** An option of stress-ng by its long name, without dashes. */
export interface Option {
  readonly name: string;
  readonly value: string | undefined;
}

export interface ReadArguments {
  readonly options: readonly Option[];
  /** What is wrong with them, all of it, each a sentence for the user. */
  readonly problems: readonly string[];
}

/** Numbers with a unit or in lists, and words: nothing that could be a path or another option. */
const VALUE = /^(?:-?\d+(?:\.\d+)?[a-z%]?|\d[\d,-]*|[a-z][a-z0-9-]*)$/i;

/**
 * Reads arguments for stress-ng as users write them, split on blanks without a shell, and lets only those through that
 * stressors.ts has. `of` names the one stressor whose options are allowed; without it any stressor may be started.
 */
export function readArguments(texts: readonly string[], { of }: { readonly of?: string } = {}): ReadArguments {
  const words = texts.flatMap((text) => text.split(/\s+/)).filter((word) => word !== "");
  const options: Option[] = [];
  const problems: string[] = [];
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? "";
    const [, name = "", glued] = /^--([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
    const option = name === "" ? (shortOptions[/^-(.)$/.exec(word)?.[1] ?? ""] ?? "") : name;
    if (option === "") {
      problems.push(`${quote(word)} is no option of stress-ng. Write options by their long names, such as --cpu 1.`);
      continue;
    }
    const takes = kindOf(option, of);
    if (takes === undefined) {
      problems.push(refuse(option, of));
      if (glued === undefined && !(words[at + 1] ?? "-").startsWith("-")) at += 1; // its value is no mistake of its own
      continue;
    }
    if (takes === "nothing") {
      if (glued === undefined) options.push({ name: option, value: undefined });
      else problems.push(`--${option} takes no value, and was given ${quote(glued)}. Write --${option}.`);
      continue;
    }
    if (glued === undefined) at += 1;
    const value = glued ?? words[at];
    if (value === undefined) problems.push(`--${option} has no value. Write one after it.`);
    else if (!VALUE.test(value)) problems.push(`--${option} has the value ${quote(value)}. Write a number, a list of numbers or a name.`);
    else options.push({ name: option, value });
  }
  return { options, problems };
}

export const renderOptions = (options: readonly Option[]): readonly string[] =>
  options.flatMap(({ name, value }) => (value === undefined ? [`--${name}`] : [`--${name}`, value]));

const quote = (text: string): string => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);

/** Whether an option is allowed, and takes a value. */
function kindOf(option: string, of: string | undefined): "value" | "nothing" | undefined {
  if (generalFlags.has(option)) return "nothing";
  // Of a stressor with workers of its own, the duration and the start are the experiment's.
  if (generalValues.has(option)) return of !== undefined && (option === "timeout" || option === "backoff") ? undefined : "value";
  if (of === undefined && Object.hasOwn(stressors, option)) return "value";
  for (const [name, stressor] of Object.entries(stressors)) {
    if (of !== undefined && name !== of) continue;
    if (!option.startsWith(`${name}-`)) continue;
    const kind = kindOfSuffix(stressor, option.slice(name.length + 1), of);
    if (kind !== undefined) return kind;
  }
  return undefined;
}

function kindOfSuffix({ values = [], flags = [] }: Stressor, suffix: string, of: string | undefined): "value" | "nothing" | undefined {
  if (values.includes(suffix) || (suffix === "ops" && of === undefined)) return "value";
  return flags.includes(suffix) ? "nothing" : undefined;
}

/** Options that people know, and what to write instead. */
const known: readonly (readonly [pattern: RegExp, why: string])[] = [
  [/^job$/, "reads a file. Write the options of the job themselves."],
  [
    /^(log-file|yaml|syslog|stdout|log-lockless)$/,
    "writes a report outside of the experiment. Leave it out; what was done is in its status.",
  ],
  [/^(temp-path|keep-files)$/, "is about files, and none are written. Leave it out."],
  [/^(all|parallel|random|sequential|class|exclude)$/, "starts stressors without naming them. Name each, such as --cpu 1 --vm 1."],
  [/^(exec|spawn|vfork|fork|clone|daemon|forkheavy)(-.*)?$/, "runs programs or processes without bound. Use --cpu, --switch or --vm."],
  [/^(oomable|no-oom-adjust)$/, "is set already. Write stressors.memory.oomScoreAdj for how readily the kernel kills the workers."],
  [/^(keep-name)$/, "is set already. Leave it out."],
  [/^(maximize|minimize)$/, "sets sizes that nobody wrote. Write the sizes, such as --vm-bytes 256m."],
  [/^(sched|ionice|mbind).*$/, "needs privileges that the workers do not have. Leave it out."],
  [/^timeout$/, "is not for workers that last as long as the experiment. Write spec.duration."],
  [/^.*-ops$/, "ends workers that last as long as the experiment. Write spec.duration."],
  [/^vm-bytes$/, "is the size of stressors.memory. Write it there."],
  [/^backoff$/, "is what a ramp is made of. Write --time and how long it lasts."],
];

function refuse(option: string, of: string | undefined): string {
  const why = known.find(([pattern]) => pattern.test(option))?.[1];
  if (why !== undefined) return `--${option.slice(0, 60)} ${why}`;
  if (of !== undefined && Object.hasOwn(stressors, option))
    return `--${option} starts other workers than those of this stressor. Write it in stressngStressors.`;
  const allowed =
    of === undefined ? Object.keys(stressors).map((name) => `--${name}`) : Object.keys(stressors).includes(of) ? [`--${of}-…`] : [];
  return `--${option.slice(0, 60)} is not allowed: it may reach beyond the container, or needs privileges. Allowed are ${allowed.join(", ")} and their options.`;
}

import * as z from "zod";
import { byteSizeOrEmpty } from "../blocks/byte-size.ts";
import { containerNames, describeContainers } from "../blocks/containers.ts";
import { durationOrEmpty, objectName, textWith } from "../blocks/scalars.ts";
import { describeSelection, fillNamespaces, selectionRules, selectorBlock, touchPods } from "../blocks/selector.ts";
import { line } from "../blocks/texts.ts";
import type { FieldError } from "../field-error.ts";
import type { Rule } from "../rule.ts";
import { listWords, show } from "../text.ts";
import type { ExperimentDefinition } from "./definition.ts";
import { describeDuration, duration, remoteCluster } from "./shared.ts";

const INT32_MIN = -(2 ** 31);
/** 0 for none; below 0, one for each processor, as stress-ng has it. */
const workers = () => z.number().int().min(INT32_MIN).max(8192).default(0).describe("Number of workers; 0 for none.");
const options = () => z.array(line()).max(100).optional();

const stressors = z.strictObject({
  cpu: z
    .strictObject({
      workers: workers(),
      load: z.number().int().min(0).max(100).optional().describe("Load of each worker in percent; 100 by default."),
      options: options().describe("More arguments for stress-ng."),
    })
    .optional()
    .describe("Uses processor time."),
  memory: z
    .strictObject({
      workers: workers(),
      size: byteSizeOrEmpty()
        .optional()
        .describe("Memory of all workers together, such as 256MB, or a share of what there is, such as 25%."),
      oomScoreAdj: z
        .number()
        .int()
        .min(-1000)
        .max(1000)
        .default(0)
        .describe("How readily the kernel kills the workers when memory is short."),
      options: options().describe("More arguments for the memory stressor."),
    })
    .optional()
    .describe("Takes memory."),
});

const schema = z.strictObject({
  ...selectorBlock,
  containerNames: containerNames(),
  stressors: stressors.optional().describe("What the target is stressed with."),
  stressngStressors: textWith(problemWithArguments).optional().describe("Arguments for stress-ng as it is. They win over stressors."),
  duration: durationOrEmpty().optional().describe(duration),
  remoteCluster: objectName().optional().describe(remoteCluster),
});
type Spec = z.output<typeof schema>;

/** Line breaks of a block text are blanks between arguments. */
function problemWithArguments(text: string): string | undefined {
  return /[^\P{Cc}\s]/u.test(text) ? `${show(text)} has a control character. Write the arguments without it.` : undefined;
}

const rules: readonly Rule<Spec>[] = [
  ...selectionRules,
  {
    title: "stressors or stressngStressors must say what to do",
    cel: "has(self.stressors) || (has(self.stressngStressors) && self.stressngStressors != '')",
    violations: ({ stressors: written, stressngStressors = "" }) =>
      written === undefined && stressngStressors === ""
        ? [{ path: "spec.stressors", message: "is missing: write what to stress, such as cpu: {workers: 1, load: 80}." }]
        : [],
  },
  {
    title: "stressors must have cpu, memory or both",
    cel: "!has(self.stressors) || has(self.stressors.cpu) || has(self.stressors.memory)",
    violations: ({ stressors: written }) =>
      written !== undefined && written.cpu === undefined && written.memory === undefined
        ? [{ path: "spec.stressors", message: "has neither cpu nor memory. Write one of them, such as cpu: {workers: 1, load: 80}." }]
        : [],
  },
  {
    title: "memory with workers needs a size, there or in its options",
    cel: undefined,
    violations: ({ stressors: written }) => {
      const { workers: number = 0, size = "", options: more = [] } = written?.memory ?? {};
      if (number <= 0 || size !== "" || more.some((option) => /(^|\s)--?size\b/.test(option))) return [];
      return [
        {
          path: "spec.stressors.memory.size",
          message: 'is missing: the workers need to know how much memory to take. Write a size such as "256MB", or a share such as "25%".',
        },
      ];
    },
  },
];

function ineffective({ stressors: written, stressngStressors = "" }: Spec): readonly FieldError[] {
  const workersOf = (stressor: { readonly workers: number } | undefined): number => stressor?.workers ?? 0;
  const isIdle = workersOf(written?.cpu) === 0 && workersOf(written?.memory) <= 0;
  if (stressngStressors === "")
    return isIdle
      ? [{ path: "spec.stressors", message: "has no workers, so that nothing is stressed. Write one such as workers: 1." }]
      : [];
  return isIdle ? [] : [{ path: "spec.stressors", message: "is not used beside stressngStressors, which win." }];
}

function explain(spec: Spec): string {
  const { stressors: { cpu, memory } = {}, stressngStressors = "" } = spec;
  const busy = (number: number): string => (number < 0 ? "all processors" : `${number} ${number === 1 ? "processor" : "processors"}`);
  const effects =
    stressngStressors === ""
      ? [
          ...(cpu && cpu.workers !== 0 ? [`keeps ${busy(cpu.workers)} busy at ${cpu.load ?? 100} %`] : []),
          ...(memory && memory.workers > 0 ? [`takes ${memory.size ? `${memory.size} of ` : ""}memory`] : []),
        ]
      : [`runs stress-ng with ${show(stressngStressors)}`];
  const effect = listWords(effects) || "does nothing";
  return `${effect.charAt(0).toUpperCase()}${effect.slice(1)} in ${describeContainers(spec)}${describeSelection(spec)}${describeDuration(spec)}.`;
}

export const stressChaos: ExperimentDefinition<typeof schema> = {
  kind: "StressChaos",
  plural: "stresschaos",
  columns: [{ name: "duration", jsonPath: ".spec.duration" }],
  actorOf: () => "daemon",
  targetOf: () => "container",
  selections: (spec) => [{ key: ".", block: spec, need: "daemon", containers: spec.containerNames ?? [] }],
  isOneShot: () => false,
  schema,
  prepare: fillNamespaces,
  rules,
  unsupported: () => [],
  ineffective,
  touches: touchPods,
  explain,
};

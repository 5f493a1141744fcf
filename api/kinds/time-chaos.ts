import * as z from "zod";
import { parseDuration } from "../../common/duration.ts";
import { containerNames, describeContainers } from "../blocks/containers.ts";
import { objectName, offset, problemWithDuration } from "../blocks/scalars.ts";
import { describeSelection, fillNamespaces, selectionRules, selectorBlock, touchPods } from "../blocks/selector.ts";
import type { FieldError } from "../field-error.ts";
import { listWords } from "../text.ts";
import type { ExperimentDefinition } from "./definition.ts";
import { describeDuration, remoteCluster } from "./shared.ts";

/** See clock_gettime(2). */
export const clocks = [
  "CLOCK_REALTIME",
  "CLOCK_MONOTONIC",
  "CLOCK_PROCESS_CPUTIME_ID",
  "CLOCK_THREAD_CPUTIME_ID",
  "CLOCK_MONOTONIC_RAW",
  "CLOCK_REALTIME_COARSE",
  "CLOCK_MONOTONIC_COARSE",
  "CLOCK_BOOTTIME",
  "CLOCK_REALTIME_ALARM",
  "CLOCK_BOOTTIME_ALARM",
] as const;

const schema = z.strictObject({
  ...selectorBlock,
  containerNames: containerNames(),
  timeOffset: offset({ missing: 'is missing. Write how far the clock is off, such as "-1h" or "90s".' }).describe(
    "How far the clock is off: a Go duration such as -1h or 90s.",
  ),
  clockIds: z
    .array(z.enum(clocks))
    .max(clocks.length)
    .default(["CLOCK_REALTIME"])
    .describe("Clocks that are off, by their names for clock_gettime(2)."),
  // Chaos Mesh does not check this one: what is no duration counts as none, and the experiment lasts until it is deleted.
  duration: z
    .string()
    .max(1024)
    .optional()
    .describe("How long the experiment lasts, as in other kinds; what is no duration counts as none, as in Chaos Mesh."),
  remoteCluster: objectName().optional().describe(remoteCluster),
});

type Spec = z.output<typeof schema>;

function ineffective({ duration: length = "", timeOffset }: Spec): readonly FieldError[] {
  const problem = length === "" ? undefined : problemWithDuration(length);
  return [
    ...(parseDuration(timeOffset) === 0n ? [{ path: "spec.timeOffset", message: "shifts nothing." }] : []),
    ...(problem === undefined
      ? []
      : [{ path: "spec.duration", message: `${problem} As it stands, the experiment lasts until it is deleted.` }]),
  ];
}

export const timeChaos: ExperimentDefinition<typeof schema> = {
  kind: "TimeChaos",
  plural: "timechaos",
  columns: [{ name: "duration", jsonPath: ".spec.duration" }],
  actorOf: () => "daemon",
  targetOf: () => "container",
  selections: (spec) => [{ key: ".", block: spec, need: "daemon", containers: spec.containerNames ?? [] }],
  isOneShot: () => false,
  schema,
  prepare: (spec, namespace) => {
    const filled = fillNamespaces(spec, namespace);
    const { clockIds, ...others } = filled;
    return Array.isArray(clockIds) && clockIds.length === 0 ? others : filled;
  },
  rules: selectionRules,
  unsupported: () => [],
  ineffective,
  touches: touchPods,
  explain: (spec) => {
    const length = parseDuration(spec.duration ?? "") === undefined ? "" : describeDuration(spec);
    return `Shifts ${listWords(spec.clockIds)} by ${spec.timeOffset} in ${describeContainers(spec)}${describeSelection(spec)}${length}.`;
  },
};

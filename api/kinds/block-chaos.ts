import * as z from "zod";
import { containerNames, describeContainers } from "../blocks/containers.ts";
import { dnsLabel, durationOrEmpty, objectName, percentText, wait } from "../blocks/scalars.ts";
import { describeSelection, fillNamespaces, selectionRules, selectorBlock, touchPods } from "../blocks/selector.ts";
import { withoutEmptyDefaults } from "../blocks/traffic-control.ts";
import type { JsonObject } from "../json.ts";
import type { Rule } from "../rule.ts";
import type { ExperimentDefinition } from "./definition.ts";
import { describeDuration, duration, remoteCluster } from "./shared.ts";

const delay = z.strictObject({
  latency: wait({ missing: 'is missing. Write how long operations take longer, such as "100ms".' }).describe(
    "How long each operation takes longer.",
  ),
  jitter: wait().default("0ms").describe("The latency varies by this much to either side."),
  correlation: percentText().default("0").describe("How much a latency depends on the one before, in percent."),
});

const schema = z.strictObject({
  action: z.enum(["delay"]).describe("What happens to the block device."),
  ...selectorBlock,
  containerNames: containerNames(),
  volumeName: dnsLabel("a volume", { missing: "is missing. Write the name of a volume of the pod, as its spec.volumes has it." }).describe(
    "Name of a volume of the pod: a hostPath, or a claim bound to a hostPath or local volume.",
  ),
  delay: delay.optional().describe("For delay: by how much."),
  duration: durationOrEmpty().optional().describe(duration),
  remoteCluster: objectName().optional().describe(remoteCluster),
});
type Spec = z.output<typeof schema>;

/** Chaos Mesh takes empty texts for its defaults. */
function prepare(spec: JsonObject, namespace: string): JsonObject {
  const filled = fillNamespaces(spec, namespace);
  return "delay" in filled ? { ...filled, delay: withoutEmptyDefaults(filled["delay"]) } : filled;
}

const rules: readonly Rule<Spec>[] = [
  ...selectionRules,
  {
    title: "the action delay needs delay",
    cel: "self.action != 'delay' || has(self.delay)",
    violations: ({ delay: written }) =>
      written === undefined
        ? [{ path: "spec.delay", message: "is missing: the action delay needs to know by how much. Write one such as {latency: 100ms}." }]
        : [],
  },
];

function explain(spec: Spec): string {
  const { latency, jitter } = spec.delay ?? { latency: "0s", jitter: "0s" };
  const varied = Number.parseFloat(jitter) > 0 ? ` ± ${jitter}` : "";
  return `Delays the block device of volume ${spec.volumeName} by ${latency}${varied} for ${describeContainers(spec)}${describeSelection(spec)}${describeDuration(spec)}.`;
}

export const blockChaos: ExperimentDefinition<typeof schema> = {
  kind: "BlockChaos",
  plural: "blockchaos",
  columns: [
    { name: "action", jsonPath: ".spec.action" },
    { name: "duration", jsonPath: ".spec.duration" },
  ],
  actorOf: () => "daemon",
  targetOf: () => "container",
  selections: (spec) => [{ key: ".", block: spec, need: "api" }],
  isOneShot: () => false,
  schema,
  prepare,
  rules,
  unsupported: () => [],
  ineffective: () => [],
  touches: touchPods,
  explain,
};

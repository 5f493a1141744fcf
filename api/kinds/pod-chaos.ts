import * as z from "zod";
import { durationOrEmpty, objectName } from "../blocks/scalars.ts";
import { describeSelection, fillNamespaces, selectionRules, selectorBlock, touchPods } from "../blocks/selector.ts";
import type { Rule } from "../rule.ts";
import type { ExperimentDefinition } from "./definition.ts";
import { unusedBy } from "./ineffective.ts";
import { duration, remoteCluster } from "./shared.ts";

const schema = z.strictObject({
  action: z
    .enum(["pod-kill", "pod-failure", "container-kill"])
    .describe("pod-kill deletes pods, pod-failure makes them fail for a while, container-kill kills containers."),
  ...selectorBlock,
  containerNames: z.array(objectName()).max(100).optional().describe("Containers of each pod, for container-kill."),
  gracePeriod: z
    .number()
    .int()
    .min(0)
    .max(Number.MAX_SAFE_INTEGER)
    .default(0)
    .describe("Seconds that a pod gets to end, for pod-kill; 0 kills at once."),
  duration: durationOrEmpty().optional().describe(duration),
  remoteCluster: objectName().optional().describe(remoteCluster),
});
type Spec = z.output<typeof schema>;

const rules: readonly Rule<Spec>[] = [
  ...selectionRules,
  {
    title: "container-kill needs containerNames",
    cel: "self.action != 'container-kill' || (has(self.containerNames) && size(self.containerNames) > 0)",
    violations: ({ action, containerNames = [] }) =>
      action !== "container-kill" || containerNames.length > 0
        ? []
        : [
            {
              path: "spec.containerNames",
              message: "is missing: container-kill needs to know which containers. Write a list such as [app].",
            },
          ],
  },
];

export const podChaos: ExperimentDefinition<typeof schema> = {
  kind: "PodChaos",
  plural: "podchaos",
  columns: [{ name: "action", jsonPath: ".spec.action" }],
  actorOf: (spec) => (spec.action === "container-kill" ? "daemon" : "controller"),
  targetOf: (spec) => (spec.action === "container-kill" ? "container" : "pod"),
  selections: (spec) => [
    spec.action === "container-kill"
      ? { key: ".", block: spec, need: "daemon", containers: spec.containerNames ?? [] }
      : { key: ".", block: spec, need: spec.action === "pod-failure" ? "images" : "api" },
  ],
  isOneShot: (spec) => spec.action !== "pod-failure",
  schema,
  prepare: fillNamespaces,
  rules,
  unsupported: () => [],
  ineffective: (spec) => unusedBy(spec, { gracePeriod: ["pod-kill"], containerNames: ["container-kill"] }),
  touches: touchPods,
  explain: (spec) => {
    const verb = {
      "pod-kill": "Kills",
      "pod-failure": "Runs a pause image in place of the containers of",
      "container-kill": `Kills the container ${(spec.containerNames ?? []).join(", ")} of`,
    }[spec.action];
    return `${verb} ${describeSelection(spec)}${spec.action === "pod-kill" && spec.gracePeriod > 0 ? ` with ${spec.gracePeriod} s to end` : ""}.`;
  },
};

import * as z from "zod";
import { containerNames } from "../blocks/containers.ts";
import { dnsPattern } from "../blocks/dns-pattern.ts";
import { durationOrEmpty, objectName } from "../blocks/scalars.ts";
import { describeSelection, fillNamespaces, selectionRules, selectorBlock, touchPods } from "../blocks/selector.ts";
import type { ExperimentDefinition } from "./definition.ts";
import { describeDuration, duration, remoteCluster } from "./shared.ts";

const schema = z.strictObject({
  action: z.enum(["error", "random"]).describe("error lets look-ups fail, random answers them with random addresses."),
  ...selectorBlock,
  containerNames: containerNames(),
  patterns: z
    .array(dnsPattern())
    .max(1_000)
    .optional()
    .describe("Names that are faulted; ? stands for one character, * at the end for the rest. Every name by default."),
  duration: durationOrEmpty().optional().describe(duration),
  remoteCluster: objectName().optional().describe(remoteCluster),
});

const MOST_SHOWN = 3;

/** "of pay.example.com, cdn.* and 2 more", for people. */
function describeNames(patterns: readonly string[]): string {
  if (patterns.length === 0) return "of every name";
  const more = patterns.length - MOST_SHOWN;
  return `of ${patterns.slice(0, MOST_SHOWN).join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

export const dnsChaos: ExperimentDefinition<typeof schema> = {
  kind: "DNSChaos",
  plural: "dnschaos",
  columns: [
    { name: "action", jsonPath: ".spec.action" },
    { name: "duration", jsonPath: ".spec.duration" },
  ],
  actorOf: () => "sidecar",
  targetOf: () => "container",
  hasContainersInSidecar: true,
  selections: (spec) => [{ key: ".", block: spec, need: "sidecar" }],
  isOneShot: () => false,
  schema,
  prepare: fillNamespaces,
  rules: selectionRules,
  unsupported: () => [],
  ineffective: ({ containerNames: names = [] }) =>
    names.length === 0
      ? []
      : [
          {
            path: "spec.containerNames",
            message: "narrows nothing down: the containers of a pod share its look-ups, and all of them are faulted.",
          },
        ],
  touches: touchPods,
  explain: (spec) => {
    const names = describeNames(spec.patterns ?? []);
    const who = `${describeSelection(spec)}${describeDuration(spec)}`;
    return spec.action === "error" ? `Fails look-ups ${names} by ${who}.` : `Answers look-ups ${names} with random addresses for ${who}.`;
  },
};

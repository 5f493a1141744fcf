import type { z } from "zod";
import type { JsonObject } from "../json.ts";
import type { ExperimentDefinition, Touch } from "./definition.ts";

/** Texts and rules of the fields that all kinds have. */

export const duration =
  "How long the experiment lasts, counted from its creation: a Go duration such as 5m. Without it: until deleted or paused.";
export const remoteCluster = "Name of a RemoteCluster to run in.";

/** " for 5m", or nothing for an experiment without an end. */
export const describeDuration = (spec: { readonly duration?: string | undefined }): string =>
  spec.duration ? ` for ${spec.duration}` : "";

/** A cloud account: the one of the Secret, or the one that surrounds the controller, which is nobody's in particular. */
const touchCloud = ({ secretName }: { readonly secretName?: string | undefined }): readonly Touch[] => [
  secretName ? { on: "secret", name: secretName, path: "spec.secretName" } : { on: "cluster", path: "spec.secretName" },
];

/** What experiments on clouds have in common: the controller asks the cloud, and no pod is picked. */
export const cloud = {
  columns: [
    { name: "action", jsonPath: ".spec.action" },
    { name: "duration", jsonPath: ".spec.duration" },
  ],
  actorOf: () => "controller",
  targetOf: () => "cloud",
  selections: () => [],
  prepare: (spec: JsonObject) => spec,
  unsupported: () => [],
  touches: touchCloud,
} satisfies Partial<ExperimentDefinition<z.ZodType<Parameters<typeof touchCloud>[0]>>>;

import type { Touch } from "./definition.ts";

/** Texts and rules of the fields that all kinds have. */

export const duration =
  "How long the experiment lasts, counted from its creation: a Go duration such as 5m. Without it: until deleted or paused.";
export const remoteCluster = "Name of a RemoteCluster to run in.";

/** " for 5m", or nothing for an experiment without an end. */
export const describeDuration = (spec: { readonly duration?: string | undefined }): string =>
  spec.duration ? ` for ${spec.duration}` : "";

/** A cloud account: the one of the Secret, or the one that surrounds the controller, which is nobody's in particular. */
export const touchCloud = ({ secretName }: { readonly secretName?: string | undefined }): readonly Touch[] => [
  secretName ? { on: "secret", name: secretName, path: "spec.secretName" } : { on: "cluster", path: "spec.secretName" },
];

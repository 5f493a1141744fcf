/** Texts and rules of the fields that all kinds have. */

export const duration =
  "How long the experiment lasts, counted from its creation: a Go duration such as 5m. Without it: until deleted or paused.";
export const remoteCluster = "Name of a RemoteCluster to run in.";

/** " for 5m", or nothing for an experiment without an end. */
export const describeDuration = (spec: { readonly duration?: string | undefined }): string =>
  spec.duration ? ` for ${spec.duration}` : "";

import * as z from "zod";

/** What a sidecar says of its pod, as `squall explain` and `squall doctor` show it. Printed by `sidecar.mjs explain` as JSON. */
export const podExplanation = z.object({
  version: z.string(),
  passport: z.object({
    engines: z.array(z.string()),
    missing: z.array(z.string()),
    iptables: z.string(),
    families: z.array(z.string()),
    devices: z.array(z.string()),
    hasIfb: z.boolean(),
    hasMeshRedirect: z.boolean(),
    hasBpf: z.boolean(),
  }),
  faults: z.array(z.object({ id: z.string(), experiment: z.string(), state: z.string(), reason: z.string(), message: z.string() })),
  /** Each class of packets that faults make, the most particular last. */
  classes: z.array(
    z.object({
      /** "leaving" or "arriving". */
      way: z.string(),
      /** What carries it out: a drop, a queueing discipline or a queue of the engine, with its name in the kernel. */
      by: z.string(),
      /** Experiments whose faults these packets meet, in the order in which they meet them. */
      experiments: z.array(z.string()),
      matches: z.string(),
      effect: z.string(),
      /** Packets that the kernel's rule took since it was made. */
      packets: z.number().int(),
    }),
  ),
  /** Volumes that the pod wants to have served through FUSE; older sidecars know of none. */
  volumes: z.array(z.object({ name: z.string(), state: z.string(), reason: z.string(), message: z.string() })).default([]),
  /** Operations on files of such volumes that faults are on. */
  operations: z
    .array(z.object({ experiment: z.string(), volume: z.string(), files: z.string(), methods: z.string(), effect: z.string() }))
    .default([]),
});
export type PodExplanation = z.output<typeof podExplanation>;
export type ExplainedVolume = PodExplanation["volumes"][number];
export type ExplainedOperations = PodExplanation["operations"][number];
export type ExplainedClass = PodExplanation["classes"][number];

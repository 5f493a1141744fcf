import * as z from "zod";
import { groups } from "../../common/names.ts";
import { show } from "../text.ts";
import type { KindDefinition } from "./definition.ts";

/** Halt and ClusterHalt: while one is there, nothing is faulted where it holds. */

const schema = z.strictObject({
  reason: z.string().max(1024).optional().describe("Why, for everybody whose experiment is stopped or refused."),
});

const time = z.string().meta({ format: "date-time" });

export const haltStatus = z.object({
  conditions: z
    .array(
      z.object({
        type: z.enum(["Halted"]),
        status: z.enum(["True", "False"]),
        reason: z.string(),
        message: z.string(),
        lastTransitionTime: time.optional(),
      }),
    )
    .optional()
    .describe("Halted is True once nothing is faulted here any more."),
  stopped: z.number().int().min(0).optional().describe("Experiments that it stopped."),
  targetsLeft: z.number().int().min(0).optional().describe("Targets of which it is not certain yet that nothing is left on them."),
});
export type HaltStatus = z.output<typeof haltStatus>;

const common = {
  group: groups.squall,
  shortNames: [],
  columns: [
    { name: "halted", jsonPath: '.status.conditions[?(@.type=="Halted")].status' },
    { name: "stopped", jsonPath: ".status.stopped", type: "integer" },
    { name: "targets-left", jsonPath: ".status.targetsLeft", type: "integer" },
    { name: "reason", jsonPath: ".spec.reason" },
  ],
  status: haltStatus,
  // Whoever changed it would answer for it, and could lift it.
  mayChange: false,
  madeBy: "anyone",
  schema,
  prepare: (spec) => spec,
  rules: [],
  unsupported: () => [],
  ineffective: () => [],
  touches: () => [],
  embedded: () => [],
} satisfies Partial<KindDefinition<typeof schema>>;

const because = (reason: string | undefined): string => (reason === undefined || reason === "" ? "" : `, for ${show(reason)}`);

export const halt: KindDefinition<typeof schema> = {
  ...common,
  kind: "Halt",
  plural: "halts",
  singular: "halt",
  scope: "Namespaced",
  description: "Halt ends every experiment that touches its namespace and refuses new ones until it is deleted.",
  explain: ({ reason }) => `Stops every experiment that touches its namespace and refuses new ones${because(reason)}.`,
};

export const clusterHalt: KindDefinition<typeof schema> = {
  ...common,
  kind: "ClusterHalt",
  plural: "clusterhalts",
  singular: "clusterhalt",
  scope: "Cluster",
  description: "ClusterHalt ends every experiment of the cluster and refuses new ones until it is deleted.",
  explain: ({ reason }) => `Stops every experiment and refuses new ones${because(reason)}.`,
};

import * as z from "zod";
import type { KindDefinition } from "./definition.ts";
import { attributes, mistake } from "./io-chaos.ts";
import { perPod, processStatus, source, text, texts } from "./per-pod.ts";

const MOST = 5_000;
const int32 = () =>
  z
    .number()
    .int()
    .min(-(2 ** 31))
    .max(2 ** 31 - 1);

const schema = z.strictObject({
  volumeMountPath: text().describe("Where the volume is mounted in the container."),
  container: text().optional().describe("Container; the first by default."),
  actions: z
    .array(
      z.strictObject({
        type: text().describe("latency, fault, attrOverride or mistake."),
        path: text().describe("Glob of the files."),
        percent: int32().describe("Share of the operations."),
        methods: texts().optional().describe("Operations; all by default."),
        faults: z
          .array(
            z.strictObject({
              errno: int32().describe("Number of the error."),
              weight: int32().describe("How often it is among the others."),
            }),
          )
          .max(MOST)
          .optional()
          .describe("Errors, for fault."),
        latency: text().optional().describe("How long each operation takes longer, for latency."),
        ...attributes.shape,
        mistake: mistake.optional().describe("How data goes wrong, for mistake."),
        source: source().optional(),
      }),
    )
    .max(MOST)
    .optional()
    .describe("What happens to operations on files."),
});

export const podIoChaos: KindDefinition<typeof schema> = {
  ...perPod,
  kind: "PodIOChaos",
  insteadOf: "IOChaos",
  plural: "podiochaos",
  singular: "podiochaos",
  description: "PodIOChaos has the file faults of one pod, as Chaos Mesh keeps them.",
  schema,
  status: processStatus,
  prepare: (spec) => spec,
  explain: ({ actions = [], volumeMountPath }) =>
    `Holds ${actions.length} file faults on ${JSON.stringify(volumeMountPath)} of the pod of its name.`,
};

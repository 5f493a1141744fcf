import * as z from "zod";
import { containerNames, describeContainers } from "../blocks/containers.ts";
import { durationOrEmpty, objectName, textWith } from "../blocks/scalars.ts";
import { describeSelection, fillNamespaces, selectionRules, selectorBlock, touchPods } from "../blocks/selector.ts";
import { line } from "../blocks/texts.ts";
import { listWords, show } from "../text.ts";
import type { ExperimentDefinition } from "./definition.ts";
import { describeDuration, duration, remoteCluster } from "./shared.ts";

const INT32_MAX = 2 ** 31 - 1;

const header = (): z.ZodString =>
  textWith((text) =>
    /^[A-Za-z0-9_][A-Za-z0-9_./-]*\.h$/.test(text) && !text.includes("..")
      ? undefined
      : `${show(text)} is no header of the kernel. Write its path below include/, such as "linux/fs.h".`,
  );

/** Compilers put dots into names, as in `vfs_read.part.0`. */
const functionName = (): z.ZodString =>
  textWith(
    (text) =>
      /^[A-Za-z_][A-Za-z0-9_.]*$/.test(text)
        ? undefined
        : `${show(text)} is no function of the kernel. Write its name alone, such as "ext4_mount".`,
    { missing: 'is missing. Write the name of a function of the kernel, such as "ext4_mount".' },
  );

const failKernRequest = z.strictObject({
  failtype: z.number().int().min(0).max(2).default(0).describe("What fails: 0 slab allocations, 1 page allocations, 2 block I/O."),
  headers: z.array(header()).max(100).optional().describe("Headers of the kernel that the predicates need, such as linux/fs.h."),
  callchain: z
    .array(
      z.strictObject({
        funcname: functionName().describe("Function of the kernel."),
        parameters: line().optional().describe("Its parameters as in C, for the predicate."),
        predicate: line().optional().describe("Condition on the parameters as in C."),
      }),
    )
    .max(100)
    .optional()
    .describe("Functions that must be on the stack, the outermost first. Any by default."),
  probability: z.number().int().min(0).max(100).optional().describe("Share of the calls in percent; 0, the default, is every one."),
  times: z.number().int().min(0).max(INT32_MAX).optional().describe("Most failures; 0, the default, is no limit."),
});

const schema = z.strictObject({
  ...selectorBlock,
  containerNames: containerNames(),
  failKernRequest: failKernRequest.prefault({}).describe("What fails inside the kernel."),
  duration: durationOrEmpty().optional().describe(duration),
  remoteCluster: objectName().optional().describe(remoteCluster),
});
type Spec = z.output<typeof schema>;

const WHAT_FAILS = ["slab allocations", "page allocations", "block I/O"] as const;

function explain(spec: Spec): string {
  const { failtype, callchain = [], probability = 0, times = 0 } = spec.failKernRequest;
  const share = probability === 0 || probability === 100 ? "" : `${probability} % of the `;
  const under = callchain.length === 0 ? "" : ` under ${listWords(callchain.map(({ funcname }) => show(funcname)))}`;
  const most = times === 0 ? "" : `, at most ${times} times,`;
  return `Fails ${share}${WHAT_FAILS[failtype]}${under}${most} for ${describeContainers(spec)}${describeSelection(spec)}${describeDuration(spec)}.`;
}

export const kernelChaos: ExperimentDefinition<typeof schema> = {
  kind: "KernelChaos",
  plural: "kernelchaos",
  columns: [{ name: "duration", jsonPath: ".spec.duration" }],
  actorOf: () => "daemon",
  // Chaos Mesh picks pods here and then looks for containers, so that none of its KernelChaos can be carried out.
  targetOf: () => "container",
  selections: (spec) => [{ key: ".", block: spec, need: "api" }],
  isOneShot: () => false,
  schema,
  prepare: fillNamespaces,
  rules: selectionRules,
  unsupported: () => [],
  ineffective: () => [],
  touches: touchPods,
  explain,
};

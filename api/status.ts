import * as z from "zod";

/** The status of an experiment: Chaos Mesh's shape, with `skipped`, and in each record `targetUID`, `reason`, `message`, `receipts` and `interruptions` of ours. */

const count = () => z.number().int().min(0);
/** Absent for 0. Not a default: the API server would write it into each of ten thousand records. */
const countOrNone = () =>
  count()
    .optional()
    .transform((value) => value ?? 0);
const time = () => z.string().meta({ format: "date-time" });

export const conditionTypes = ["Selected", "AllInjected", "AllRecovered", "Paused"] as const;
export type ConditionType = (typeof conditionTypes)[number];

const condition = z.object({
  type: z.enum(conditionTypes),
  status: z.enum(["True", "False"]),
  reason: z.string().optional().describe("CamelCase; see docs/reasons.md."),
  message: z.string().optional(),
  lastTransitionTime: time().optional(),
});
export type Condition = z.output<typeof condition>;

export const recordPhases = ["Not Injected", "Not Injected/Wait", "Injected", "Injected/Wait"] as const;
export type RecordPhase = (typeof recordPhases)[number];

const recordEvent = z.object({
  type: z.enum(["Succeeded", "Failed"]),
  operation: z.enum(["Apply", "Recover"]),
  message: z.string().optional(),
  timestamp: time(),
});
export type RecordEvent = z.output<typeof recordEvent>;

const methodReceipt = z.object({
  seen: count().describe("Operations on the volume while the fault was in force, whether they matched or not."),
  matched: count().describe("Those that the fault hit: with a percentage, not those that it spared."),
  delayed: count().optional(),
  failed: count().optional(),
  falsified: count().optional(),
});

const receipts = z
  .object({
    matched: count().describe("Packets or file operations that the fault looked at."),
    dropped: count(),
    delayed: count(),
    exempted: count().describe("Packets of probes and of Squall itself that were let through."),
    duplicated: count().optional(),
    corrupted: count().optional(),
    reordered: count().optional().describe("Packets sent earlier than others that came before them."),
    processes: count().optional().describe("Processes of the target that the fault acted on when it was last looked at."),
    oomKills: count().optional().describe("Stressors that the kernel killed because memory was short."),
    failed: count().optional().describe("File operations that were answered with an error."),
    falsified: count().optional().describe("File operations whose data or attributes are not the truth."),
    methods: z.record(z.string(), methodReceipt).optional().describe("File operations by their names, those that were seen."),
    firstTime: time().optional(),
    lastTime: time().optional(),
  })
  .describe("What the fault did to its target.");
export type Receipts = z.output<typeof receipts>;

const containerRecord = z.object({
  id: z.string().describe("NAMESPACE/POD, or NAMESPACE/POD/CONTAINER."),
  selectorKey: z
    .enum([".", ".Target"])
    .optional()
    .transform((key) => key ?? ".")
    .describe(". for the selector, which is also meant where it is absent; .Target for the target of a NetworkChaos."),
  phase: z.enum(recordPhases),
  injectedCount: countOrNone(),
  recoveredCount: countOrNone(),
  events: z.array(recordEvent).optional(),
  targetUID: z.string().optional().describe("UID of the pod that was picked: another one of the same name is another target."),
  containerID: z
    .string()
    .optional()
    .describe("For container-kill: the container that was picked. One that was started in its place is left alone."),
  reason: z.string().optional(),
  message: z.string().optional(),
  receipts: receipts.optional(),
  interruptions: z
    .object({ count: count(), seconds: z.number().min(0) })
    .optional()
    .describe("How often and how long the fault was lifted because no heartbeat reached it."),
  resolved: z
    .record(z.string(), z.array(z.string()))
    .optional()
    .describe("Host names of externalTargets with the addresses that are faulted now."),
});
export type ContainerRecord = z.output<typeof containerRecord>;

const skipped = z.object({ id: z.string(), reason: z.string(), message: z.string() });
export type SkippedTarget = z.output<typeof skipped>;

export const statusSchema = z.object({
  conditions: z.array(condition).optional(),
  experiment: z
    .object({
      desiredPhase: z.enum(["Run", "Stop"]).optional(),
      containerRecords: z.array(containerRecord).optional().describe("One for each target; absent until targets were picked."),
    })
    .prefault({}),
  halted: z
    .object({ by: z.string(), time: time() })
    .optional()
    .describe("The halt that stopped the experiment. It does not start again when the halt is gone."),
  skipped: z.array(skipped).optional().describe("Pods that the selector matches and that cannot carry the fault, with the reason."),
  instances: z.record(z.string(), z.number().int()).optional().describe("Kept for tools of Chaos Mesh; Squall does not write it."),
});
export type ExperimentStatus = z.output<typeof statusSchema>;

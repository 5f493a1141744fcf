import * as z from "zod";
import { groups } from "../../common/names.ts";

/** What Chaos Mesh's objects per pod have in common. Squall keeps what is in force in the agents and writes none; see docs/decisions/no-objects-per-pod.md. */

export const text = () => z.string().max(1024);
export const texts = () => z.array(text()).max(5_000);
/** NAMESPACE/NAME of the experiment that an entry is of. */
export const source = () => text().describe("Experiment that it is of: NAMESPACE/NAME.");

const INT64 = { min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER };
const int64 = () => z.number().int().min(INT64.min).max(INT64.max).optional();

const applied = {
  failedMessage: z.string().optional().describe("Why it could not be applied."),
  observedGeneration: int64().describe("Generation that is applied."),
};
export const appliedStatus = z.object(applied);
export const processStatus = z.object({
  ...applied,
  pid: int64().describe("Process that does it."),
  startTime: int64().describe("When that process started."),
});

export const perPod = {
  group: groups.chaos,
  shortNames: [],
  scope: "Namespaced",
  columns: [],
  mayChange: true,
  madeBy: "controller",
  rules: [],
  unsupported: () => [],
  ineffective: () => [],
  touches: () => [],
  embedded: () => [],
} as const;

import type { Skip } from "../../api/selection.ts";
import type { Passport } from "../../proto/gen/agent.ts";
import type { Target, TargetFault } from "./translator.ts";

/** The same fault on each container, carried out by the daemon of its node. */
export const onEach = (targets: readonly Target[], family: TargetFault["family"]): readonly TargetFault[] =>
  targets.flatMap((target) => (target.hasAgent ? [{ target, family, unmatchedServices: [] }] : []));

/** Why a node cannot carry out a family of faults, as its daemon found out when it started. */
export function whyNoFamily(family: "network" | "time" | "stress", { familiesOfFaults, missing }: Passport): Skip | undefined {
  if (familiesOfFaults.includes(family)) return undefined;
  const why = missing.filter((text) => text.startsWith(`${family}: `)).map((text) => text.slice(family.length + 2));
  return { reason: "CannotCarry", message: `The pod's node cannot carry out ${family} faults. ${why.join(" ")}`.trim() };
}

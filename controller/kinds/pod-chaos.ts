import type { SpecOf } from "../../api/kinds/experiments.ts";
import type { Translator } from "./translator.ts";

/** pod-kill is an act of the controller: it deletes pods, and no agent has a part in it. */
export const podChaos: Translator<SpecOf<"PodChaos">> = {
  whyUnable: () => undefined,
  faultsOf: () => [],
  killGraceSecondsOf: ({ action, gracePeriod }) => (action === "pod-kill" ? gracePeriod : undefined),
};

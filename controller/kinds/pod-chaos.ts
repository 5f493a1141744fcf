import type { SpecOf } from "../../api/kinds/experiments.ts";
import type { Translator } from "./translator.ts";

/** pod-kill is an act of the controller, which deletes pods; container-kill one of the daemon of the pod's node. */
export const podChaos: Translator<SpecOf<"PodChaos">> = {
  whyUnable: () => undefined,
  faultsOf: () => [],
  actOf({ action, gracePeriod }) {
    switch (action) {
      case "pod-kill":
        return { do: "delete-pod", graceSeconds: gracePeriod };
      case "container-kill":
        return { do: "kill-container" };
      case "pod-failure":
        return undefined;
    }
  },
};

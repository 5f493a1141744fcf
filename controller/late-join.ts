import { isLateJoiner, type Skip } from "../api/selection.ts";
import { nodeAgent } from "../common/names.ts";
import type { Pod } from "../kube/resources.ts";
import { explainNoDaemon } from "./agents/whose.ts";
import { whyNoFamily } from "./kinds/daemon-faults.ts";
import type { Surroundings } from "./picking.ts";

/** Why the daemon of a pod's node cannot fault the pod's network in place of a sidecar, going by what is known of that daemon; undefined where nothing speaks against it. */
export function whyNotJoined({ spec }: Pod, { hasDaemon, passportOf }: Pick<Surroundings, "hasDaemon" | "passportOf">): Skip | undefined {
  const { nodeName } = spec;
  if (nodeName === undefined) return undefined; // it will be told when it has one
  if (!hasDaemon(nodeName)) return { reason: "NoDaemon", message: explainNoDaemon(nodeName) };
  const passport = passportOf(nodeAgent(nodeName));
  return passport && whyNoFamily("network", passport);
}

/** Whether a pod that is only the other side of a fault can carry its part all the same; nobody waits for one that cannot. */
export const isJoined = (pod: Pod, around: Pick<Surroundings, "hasDaemon" | "passportOf" | "optInOf">): boolean =>
  isLateJoiner(pod) && around.optInOf(pod.metadata.namespace ?? "") === "late-join" && whyNotJoined(pod, around) === undefined;

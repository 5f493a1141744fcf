import { nodeAgent } from "../../common/names.ts";
import type { ContainerRequest } from "../../proto/gen/agent.ts";
import type { Dial } from "./link.ts";
import type { Whereabouts } from "./sender.ts";
import { explainNoDaemon } from "./whose.ts";

export type ContainerKill = (node: string, request: Omit<ContainerRequest, "targetUid" | "leaderEpoch">) => Promise<"killed" | "gone">;

/** Has daemons end containers, over a connection of its own for each: it is asked for seldom. Throws when a daemon cannot be reached or refuses. */
export function createContainerKill({
  epoch,
  dial,
  locate,
  signal,
  mustLead,
}: {
  readonly epoch: number;
  readonly dial: Dial;
  readonly locate: (agent: string) => Whereabouts;
  /** The end of the leadership. */
  readonly signal: AbortSignal;
  readonly mustLead: () => void;
}): ContainerKill {
  return async (node, request) => {
    const where = locate(nodeAgent(node));
    if (where === "gone") throw new Error(`Node ${node} is gone.`);
    if (where === "nowhere") throw new Error(explainNoDaemon(node));
    const link = dial(where);
    const onAbort = (): void => link.close();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      mustLead();
      const { wasGone } = await link.killContainer({ ...request, targetUid: nodeAgent(node), leaderEpoch: epoch });
      return wasGone ? "gone" : "killed";
    } finally {
      signal.removeEventListener("abort", onAbort);
      link.close();
    }
  };
}

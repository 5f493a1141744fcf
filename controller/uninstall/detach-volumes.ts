import type { Log } from "../../common/log.ts";
import { nodeAgent } from "../../common/names.ts";
import type { Dial } from "../agents/link.ts";
import type { World } from "../world.ts";

export interface DetachVolumesDeps {
  readonly world: Pick<World, "nodes" | "locate">;
  readonly dial: Dial;
  readonly epoch: number;
  readonly log: Log;
}

const NODES_AT_ONCE = 32;

/**
 * Has every daemon take the mounts of served volumes off its node: without a daemon, pods with such volumes could not be torn down. Never throws: what
 * a daemon does not do is logged.
 */
export async function detachVolumes({ world, dial, epoch, log }: DetachVolumesDeps, signal: AbortSignal): Promise<void> {
  const detach = async (node: string): Promise<void> => {
    const targetUid = nodeAgent(node);
    const where = world.locate(targetUid);
    if (where === "gone" || where === "nowhere" || signal.aborted) return;
    const link = dial(where);
    try {
      const { count } = await link.detachVolumes({ targetUid, leaderEpoch: epoch });
      if (count > 0) log.info({ node, volumes: count }, "volumes were taken off a node");
    } catch (error) {
      log.error({ node, err: error }, "volumes could not be taken off a node: pods there may not end, see docs/uninstall.md");
    } finally {
      link.close();
    }
  };
  const names = world.nodes().map(({ metadata }) => metadata.name);
  for (let start = 0; start < names.length; start += NODES_AT_ONCE)
    await Promise.all(names.slice(start, start + NODES_AT_ONCE).map(detach));
}

import type { Log } from "../../common/log.ts";
import { nodeAgent } from "../../common/names.ts";
import type { Dial } from "../agents/link.ts";
import type { World } from "../world.ts";
import type { Clock } from "../../common/clock.ts";
import type { Leaving } from "./notice.ts";

export interface DetachVolumesDeps {
  readonly world: Pick<World, "nodes" | "locate">;
  readonly dial: Dial;
  readonly epoch: number;
  readonly clock: Clock;
  readonly log: Log;
}

const NODES_AT_ONCE = 32;

/**
 * Has every daemon take the mounts of served volumes off its node: without a daemon, pods with such volumes could not be torn down. Never throws: what
 * a daemon does not do, or nobody had the time to ask it for, is logged.
 */
export async function detachVolumes(
  { world, dial, epoch, clock, log }: DetachVolumesDeps,
  { byMs }: Leaving,
  signal: AbortSignal,
): Promise<void> {
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
  const waiting = world.nodes().map(({ metadata }) => metadata.name);
  const work = async (): Promise<void> => {
    while (clock.monotonicMs() < byMs) {
      const node = waiting.shift();
      if (node === undefined) return;
      await detach(node);
    }
  };
  await Promise.all(Array.from({ length: NODES_AT_ONCE }, work));
  if (waiting.length > 0)
    log.error({ nodes: waiting }, "no time was left to take volumes off nodes: pods there may not end, see docs/uninstall.md");
}

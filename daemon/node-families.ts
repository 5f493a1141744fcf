import { join } from "node:path";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { openCgroupTree } from "./cgroup/cgroup-tree.ts";
import { listMembers } from "./cgroup/members.ts";
import type { DaemonConfig } from "./config.ts";
import type { NodeFamily } from "./node-family.ts";
import { createStressFaults } from "./stress-faults.ts";
import { findWhatStressLacks, openScratchFolder } from "./stress/probe.ts";
import { createTimeFaults } from "./time-faults.ts";
import { openSkewer } from "./time/open-skewer.ts";

/** All families of faults on containers; each finds out whether this node allows it. */
export async function createNodeFamilies({
  hostCgroups,
  stateFolder,
  clock,
  log,
}: Pick<DaemonConfig, "hostCgroups" | "stateFolder"> & { readonly clock: Clock; readonly log: Log }): Promise<readonly NodeFamily[]> {
  const cgroups = openCgroupTree(hostCgroups);
  const tools = { cgroups, clock, scratchFolder: await openScratchFolder(join(stateFolder, "scratch")) };
  const [opened, missing] = await Promise.all([openSkewer(), findWhatStressLacks(tools).catch(explain)]);
  return [
    createTimeFaults({ opened, processesOf: async (pid) => listMembers(await cgroups.find(pid)), clock, log }),
    createStressFaults({ ...tools, missing, log }),
  ];
}

const explain = (error: unknown): string => (error instanceof Error ? error.message : String(error));

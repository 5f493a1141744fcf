import { join } from "node:path";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { openCgroupTree } from "./cgroup/cgroup-tree.ts";
import { listMembers } from "./cgroup/members.ts";
import type { DaemonConfig } from "./config.ts";
import { createNetworkFaults, type NetworkFaults } from "./network/network-faults.ts";
import type { PodNetworks } from "./network/pod-networks.ts";
import { findWhatJoiningLacks } from "./network/probe.ts";
import type { NodeFamily } from "./node-family.ts";
import { createStressFaults } from "./stress-faults.ts";
import { findWhatStressLacks, openScratchFolder } from "./stress/probe.ts";
import { createTimeFaults } from "./time-faults.ts";
import { openSkewer } from "./time/open-skewer.ts";

export interface NodeFamiliesOptions extends Pick<DaemonConfig, "hostCgroups" | "stateFolder"> {
  readonly networks: PodNetworks;
  readonly clock: Clock;
  readonly log: Log;
}

/** The families of faults of this node. */
export interface NodeFamilies {
  readonly all: readonly NodeFamily[];
  readonly network: NetworkFaults;
}

/** All families of faults on containers and pods; each finds out whether this node allows it. */
export async function createNodeFamilies({ hostCgroups, stateFolder, networks, clock, log }: NodeFamiliesOptions): Promise<NodeFamilies> {
  const cgroups = openCgroupTree(hostCgroups);
  const tools = { cgroups, clock, scratchFolder: await openScratchFolder(join(stateFolder, "scratch")) };
  const [opened, missing, notJoinable] = await Promise.all([
    openSkewer(),
    findWhatStressLacks(tools).catch(explain),
    findWhatJoiningLacks(),
  ]);
  const network = createNetworkFaults({ networks, missing: notJoinable, clock, log });
  const time = createTimeFaults({ opened, processesOf: async (pid) => listMembers(await cgroups.find(pid)), clock, log });
  return { all: [network, time, createStressFaults({ ...tools, missing, log })], network };
}

const explain = (error: unknown): string => (error instanceof Error ? error.message : String(error));

import { constants, openSync } from "node:fs";
import { Descriptor, openDescriptorSockets } from "../../agent/descriptors.ts";
import { sendLine } from "../../agent/descriptor-lines.ts";
import { readConfig, value } from "../../common/config.ts";
import { findController } from "../cgroup/cgroup.ts";
import { openCgroupTree } from "../cgroup/cgroup-tree.ts";
import { joinGroups } from "../cgroup/members.ts";
import { HELPER_SOCKET, type HelperAnswer, OPENED_AT_ONCE } from "./fuse-devices.ts";

const shape = {
  /** Path of /dev/fuse of the node. */
  device: value.text(),
  hostCgroups: value.text(),
  nodeProcess: value.count(),
};

/**
 * Leaves the device group of the daemon's container, which may not open /dev/fuse, for that of the node's first process, opens it a few times, and
 * sends what it opened over the socket that it was started with. Then it is to end: what it has is the daemon's.
 */
export async function openFuse(environment: NodeJS.ProcessEnv): Promise<void> {
  const { device, hostCgroups, nodeProcess } = readConfig(shape, environment);
  const opened: Descriptor[] = [];
  let message = "";
  try {
    const groups = await openCgroupTree(hostCgroups).find(nodeProcess);
    const devices = findController(groups, "devices");
    if (devices !== undefined) await joinGroups(new Map([["devices", devices.folder]]), process.pid);
    for (let count = 0; count < OPENED_AT_ONCE; count += 1) opened.push(new Descriptor(openSync(device, constants.O_RDWR)));
  } catch (error) {
    message = error instanceof Error ? error.message : String(error);
  }
  const answer: HelperAnswer = { opened: opened.length, message };
  await sendLine(openDescriptorSockets(), {
    socket: HELPER_SOCKET,
    line: `${JSON.stringify(answer)}\n`,
    descriptors: opened,
    signal: new AbortController().signal,
  });
}

import { openDescriptorSockets } from "../../agent/descriptors.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { createFuseDevices } from "./fuse-devices.ts";
import { openMountCalls } from "./mount-calls.ts";
import { openNodeMounts } from "./node-mounts.ts";
import { openPodFolders } from "./pod-folders.ts";
import { createPodMembers } from "./pod-members.ts";
import { PodSockets } from "./pod-sockets.ts";
import { type PodVolumeState, PodVolumes, type PodVolumesOptions } from "./pod-volumes.ts";

export interface VolumesOptions {
  /** Of the kubelet, as the node's first process sees it. */
  readonly kubeletFolder: string;
  readonly hostCgroups: string;
  /** The entry point of this program. */
  readonly main: string;
  /** The process whose mount namespace is the node's. */
  readonly nodeProcess: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** The volumes of this node's pods that are served through FUSE. */
export interface Volumes {
  /** Why none can be mounted on this node; undefined where they can. */
  readonly missing: string | undefined;
  readonly states: readonly PodVolumeState[];
  /** Takes all mounts off the node for good, and says how many; see the call DetachVolumes. Throws where one cannot be taken off, once all were tried. */
  detach(): Promise<number>;
  /** What is mounted stays so, and is served: the next life finds it. */
  close(): Promise<void>;
}

/** Takes what an earlier life mounted back into care, or away where nobody can serve it any more, and serves pods as they come. */
export async function startVolumes(options: VolumesOptions): Promise<Volumes> {
  try {
    return await start(options);
  } catch (error) {
    const missing = error instanceof Error ? error.message : String(error);
    options.log.warn({ err: error }, "volumes cannot be mounted on this node");
    return { missing, states: [], detach: () => Promise.resolve(0), close: () => Promise.resolve() };
  }
}

async function start({ kubeletFolder, hostCgroups, main, nodeProcess, clock, log }: VolumesOptions): Promise<Volumes> {
  const calls = openMountCalls();
  const sockets = openDescriptorSockets();
  const folders = openPodFolders({ calls, nodeProcess, kubeletFolder });
  const mounts = openNodeMounts({ calls, nodeProcess });
  const devices = createFuseDevices({ main, sockets, nodeProcess, hostCgroups, clock, log });
  devices.prepare();
  const shared: PodVolumesOptions = { folders, mounts, members: createPodMembers(), devices, sockets, clock, log };
  const pods = new Map<string, PodVolumes>();

  const add = (podUid: string, orphans: readonly string[]): PodVolumes => {
    const pod = new PodVolumes(podUid, orphans, shared);
    pods.set(podUid, pod);
    return pod;
  };
  const orphans = Map.groupBy(await mounts.list(), ({ podUid }) => podUid);
  for (const [podUid, found] of orphans) {
    const names = [...new Set(found.map(({ volume }) => volume))];
    log.info({ podUid, volumes: names }, "volumes are mounted since an earlier life");
    add(podUid, names).wake();
  }
  const watch = new PodSockets({
    path: folders.path,
    onSocket: (podUid) => (pods.get(podUid) ?? add(podUid, [])).wake(),
    onGone: (podUid) => {
      const pod = pods.get(podUid);
      pods.delete(podUid);
      void pod?.forget();
    },
    clock,
    log,
  });
  return {
    missing: undefined,
    get states() {
      return [...pods.values()].flatMap(({ states }) => states);
    },
    async detach() {
      watch.close();
      const outcomes = await Promise.allSettled([...pods.values()].map((pod) => pod.detach()));
      const problems = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason] : []));
      if (problems.length > 0) throw new AggregateError(problems, problems.map(String).join(" "));
      return outcomes.reduce((sum, outcome) => sum + (outcome.status === "fulfilled" ? outcome.value : 0), 0);
    },
    async close() {
      watch.close();
      await Promise.all([...pods.values()].map((pod) => pod.close()));
      devices.close();
      mounts.close();
      folders.close();
    },
  };
}

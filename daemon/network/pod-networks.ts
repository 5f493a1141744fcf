import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { ports } from "../../common/names.ts";
import type { Target } from "../../proto/gen/agent.ts";
import type { ContainerRuntime } from "../runtime/container-runtime.ts";
import { openPodNetwork } from "./open-network.ts";
import { type PodProcess, type PodProcessOptions, startPodProcess } from "./pod-process.ts";
import { readResolvConf } from "./resolv-conf.ts";

export interface PodNetworksOptions extends PodProcessOptions {
  readonly runtime: Pick<ContainerRuntime, "sandboxPid">;
  /** A folder of the node for the journals. */
  readonly stateFolder: string;
  /** Addresses of the node, from which the kubelet's probes come. */
  readonly hostIps: readonly string[];
}

/** The ways into the network namespaces of this node's pods, and what is remembered of each on disk. */
export interface PodNetworks {
  /** A process inside that has taken back what earlier ones left; undefined where the pod is gone, and then nothing is remembered of it. */
  join(podUid: string, network?: Target["network"]): Promise<PodProcess | undefined>;
  /** Removes everything of ours from the network of a pod, if `isDue` says so right before; false where it was not done. */
  sweep(podUid: string, isDue: () => Promise<boolean>): Promise<boolean>;
  /** Pods that something may have been left in by an earlier life or a process that was cut off. */
  listLeftovers(): Promise<readonly string[]>;
}

/** Throws, from each call, what openPodNetwork and the process throw. */
export function createPodNetworks({ runtime, stateFolder, hostIps, ...options }: PodNetworksOptions): PodNetworks {
  const folder = join(stateFolder, "network");

  /** `act` has the process; it ends when `act` fails. */
  async function enter<R>(podUid: string, act: (inside: PodProcess, pid: number) => Promise<R>): Promise<R | undefined> {
    const network = await openPodNetwork(runtime, podUid);
    if (network === undefined) return undefined;
    const { handle, pid } = network;
    let inside: PodProcess | undefined;
    try {
      inside = startPodProcess(podUid, network, options);
      return await act(inside, pid);
    } catch (error) {
      await inside?.close();
      throw error;
    } finally {
      await handle.close();
    }
  }

  return {
    async join(podUid, network) {
      const journal = join(folder, podUid);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      const joined = await enter(podUid, async (inside, pid) => {
        const known = {
          hostIps,
          podIps: network?.addresses ?? [],
          probePorts: network?.probePorts ?? [],
          // Nobody of ours listens there, but rules are the same everywhere.
          agentPort: ports.sidecar,
        };
        await inside.start({ journal, known, resolvConf: await readResolvConf(pid) });
        return inside;
      });
      if (joined === undefined) await rm(journal, { force: true });
      return joined;
    },
    async sweep(podUid, isDue) {
      const isSwept = await enter(podUid, async (inside) => {
        const isTime = await isDue();
        if (isTime) await inside.sweep();
        await inside.close();
        return isTime;
      });
      return isSwept === true;
    },
    listLeftovers: () => readdir(folder).catch(ifMissing),
  };
}

function ifMissing(error: unknown): readonly string[] {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") return []; // no pod was joined on this node so far
  throw error;
}

import { type FileHandle, open, stat } from "node:fs/promises";
import { readStartTicks } from "../process.ts";
import type { ContainerRuntime } from "../runtime/container-runtime.ts";

/** The network namespace of a pod, held open: it stays the same one whatever becomes of the pod. The opener closes it. */
export interface OpenNetwork {
  readonly handle: FileHandle;
  /** A process of the pod, for its files; it may end at any time. */
  readonly pid: number;
}

/** A network that is not the pod's own is none of ours to touch. */
export class SharedNetworkError extends Error {
  override readonly name = "SharedNetworkError";
}

/**
 * Opens the network namespace of a pod; undefined where the pod is not on this node. Throws SharedNetworkError for a pod that shares the node's,
 * RuntimeError when nobody can tell.
 */
export async function openPodNetwork(runtime: Pick<ContainerRuntime, "sandboxPid">, podUid: string): Promise<OpenNetwork | undefined> {
  const pid = await runtime.sandboxPid(podUid);
  const startTicks = pid === undefined ? undefined : await readStartTicks(pid);
  if (pid === undefined || startTicks === undefined) return undefined;
  let handle: FileHandle;
  try {
    handle = await open(`/proc/${pid}/ns/net`);
  } catch (error) {
    if ((await readStartTicks(pid)) !== startTicks) return undefined;
    throw error;
  }
  try {
    // A pid may be another process's by now: what was opened is the pod's if the same process was the pod's before and after.
    const isSame = (await runtime.sandboxPid(podUid)) === pid && (await readStartTicks(pid)) === startTicks;
    if (isSame) {
      await checkOwn(handle);
      return { handle, pid };
    }
  } catch (error) {
    await handle.close();
    throw error;
  }
  await handle.close();
  return undefined;
}

async function checkOwn(handle: FileHandle): Promise<void> {
  const { dev, ino } = await handle.stat();
  for (const path of ["/proc/1/ns/net", "/proc/self/ns/net"]) {
    // Process 1 cannot be looked at where the node is itself in a container; the controller leaves such pods out before.
    const other = await stat(path).catch(() => undefined);
    if (other?.dev === dev && other.ino === ino)
      throw new SharedNetworkError("The pod is on its node's network; a fault there would hit the node and everything on it.");
  }
}

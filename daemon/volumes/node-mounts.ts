import { closeSync, openSync, readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { Descriptor } from "../../agent/descriptors.ts";
import { parseMountinfo } from "../../agent/mountinfo.ts";
import { KERNEL_PREFIX } from "../../common/names.ts";
import type { MountCalls } from "./mount-calls.ts";

/** A mount of ours on the node. */
export interface OurMount {
  readonly podUid: string;
  readonly volume: string;
  /** As process 1 of the node sees it. */
  readonly path: string;
}

/** FUSE mounts in the mount namespace of a process of the node: its first one. */
export interface NodeMounts {
  /**
   * Mounts over a folder; returns it as it was, attached nowhere. The caller closes both. `isShared`: others have mounted what is in it, too, and
   * shall not see our mount. Throws MountCallError, and nothing is mounted then.
   */
  mount(folder: Descriptor, device: Descriptor, of: Pick<OurMount, "podUid" | "volume"> & { readonly isShared: boolean }): Descriptor;
  /** Takes our mounts on a volume away, with `isForced` also from its server: who waits for that gets ENOTCONN. Throws MountCallError. */
  unmount(of: Pick<OurMount, "podUid" | "volume">, options: { readonly isForced: boolean }): Promise<void>;
  list(): Promise<readonly OurMount[]>;
  close(): void;
}

/** Throws where that process may not be looked at. */
export function openNodeMounts({ calls, nodeProcess }: { readonly calls: MountCalls; readonly nodeProcess: number }): NodeMounts {
  const own = openSync("/proc/self/ns/mnt", "r");
  let node: number;
  try {
    node = openSync(`/proc/${nodeProcess}/ns/mnt`, "r");
  } catch (error) {
    closeSync(own);
    throw error;
  }
  const list = async (): Promise<readonly OurMount[]> => parseMounts(await readFile(`/proc/${nodeProcess}/mountinfo`, "utf8"));
  const find = async ({ podUid, volume }: Pick<OurMount, "podUid" | "volume">): Promise<readonly OurMount[]> =>
    (await list()).filter((mount) => mount.podUid === podUid && mount.volume === volume);

  return {
    mount(folder, device, { podUid, volume, isShared }) {
      refuseServed(folder, nodeProcess);
      // What the volume's own mount forbids, this one forbids, and no more: its files are to be as they were.
      const attributes = calls.attributesOf(folder.number);
      return calls.inNamespace(node, own, () => {
        const tree = new Descriptor(calls.cloneTree(folder.number));
        try {
          const source = `${KERNEL_PREFIX}${podUid}/${volume}`;
          const mount = new Descriptor(calls.createFuse(device.number, { source, attributes }));
          try {
            if (isShared) calls.leaveGroup(folder.number);
            calls.attach(mount.number, folder.number);
          } finally {
            mount.close();
          }
          return tree;
        } catch (error) {
          tree.close();
          throw error;
        }
      });
    },
    async unmount(of, { isForced }) {
      // One after the other: where the kubelet's folder is mounted in two places, both show a mount, and both lose it at once.
      for (let found = await find(of); found.length > 0; ) {
        const path = found.at(-1)?.path ?? "";
        let problem: unknown;
        try {
          calls.inNamespace(node, own, () => calls.detach(path, { isForced }));
        } catch (error) {
          problem = error;
        }
        const left = await find(of);
        if (left.length >= found.length) throw problem ?? new Error(`${path} is mounted again and again.`);
        found = left;
      }
    },
    list,
    close() {
      closeSync(own);
      closeSync(node);
    },
  };
}

/** Whoever looked at a folder that is served already would wait for its server, which may never answer. This looks at the kernel's lists alone. */
function refuseServed(folder: Descriptor, nodeProcess: number): void {
  const id = Number(/^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${folder.number}`, "latin1"))?.[1]);
  const found = parseMountinfo(readFileSync(`/proc/${nodeProcess}/mountinfo`, "utf8")).find((mount) => mount.id === id);
  if (found?.type === "fuse" && found.source.startsWith(KERNEL_PREFIX))
    throw new Error(`Its folder is served already, as ${found.source}.`);
}

/** Our mounts among the lines of /proc/PID/mountinfo. Copies of them that are elsewhere, such as kubelet makes for a subPath, are not ours. */
export function parseMounts(text: string): readonly OurMount[] {
  return parseMountinfo(text).flatMap(({ path, type, source }) => {
    const [, podUid = "", volume = ""] = /^squall-([0-9a-f-]{36})\/([-a-z0-9]{1,63})$/.exec(source) ?? [];
    const isOurs = type === "fuse" && podUid !== "" && path.includes(`/pods/${podUid}/volumes/`);
    return isOurs ? [{ podUid, volume, path }] : [];
  });
}

import { closeSync, fstatSync, openSync, readdirSync } from "node:fs";
import { Descriptor } from "../../agent/descriptors.ts";
import type { WantedVolume } from "../../agent/hand-over.ts";
import { foldersOfOwnKinds } from "../../common/kubelet-folders.ts";
import { sidecarPaths, STATE_VOLUME } from "../../common/sidecar-layout.ts";
import { type MountCalls, MountCallError, openFlags, resolveFlags } from "./mount-calls.ts";

export type FoundFolder =
  | { readonly is: "found"; readonly folder: Descriptor }
  | { readonly is: "refused"; readonly reason: "VolumeNotFound" | "VolumeNotUnique"; readonly message: string };

/** What the kubelet has of each pod on this node. The names below a pod's folder are never taken for links. */
export interface PodFolders {
  /** A path of this process to the folder that has a folder for each pod. */
  readonly path: string;
  /** Whether a pod is there at all. */
  has(podUid: string): boolean;
  /** The folder of a volume, which the caller closes. */
  openVolume(podUid: string, volume: WantedVolume): FoundFolder;
  /** The socket on which the sidecar waits; undefined while there is none. The caller closes it. */
  openSocket(podUid: string): Descriptor | undefined;
  close(): void;
}

/** Folders that have no volumes of claims. */
const noClaims: ReadonlySet<string | undefined> = new Set(foldersOfOwnKinds.values());
const folderFlags = openFlags.O_PATH | openFlags.O_DIRECTORY | openFlags.O_NOFOLLOW;
const below = resolveFlags.BENEATH | resolveFlags.NO_SYMLINKS | resolveFlags.NO_MAGICLINKS;
/** Below a pod's folder. */
export const stateSteps = ["volumes", "kubernetes.io~empty-dir", STATE_VOLUME] as const;
export const socketName = sidecarPaths.filesSocket.slice(sidecarPaths.state.length + 1);

/** Throws where the node's files cannot be reached, or the kubelet has none there. `nodeProcess` is a process that sees them under that name. */
export function openPodFolders({
  calls,
  nodeProcess,
  kubeletFolder,
}: {
  readonly calls: MountCalls;
  readonly nodeProcess: number;
  readonly kubeletFolder: string;
}): PodFolders {
  const root = openSync(`/proc/${nodeProcess}/root`, "r");
  let pods: number;
  try {
    // On some nodes a link leads there, seen from the node's own root.
    pods = calls.open(root, `${kubeletFolder}/pods`, { flags: openFlags.O_PATH | openFlags.O_DIRECTORY, resolve: resolveFlags.IN_ROOT });
  } finally {
    closeSync(root);
  }
  const path = `/proc/self/fd/${pods}`;

  function open(name: string, flags: number): Descriptor | undefined {
    try {
      return new Descriptor(calls.open(pods, name, { flags, resolve: below }));
    } catch (error) {
      if (error instanceof MountCallError && isNoSuch.has(error.code)) return undefined;
      throw error;
    }
  }

  /** Names in a folder; none where it is not there. */
  function list(name: string): readonly string[] {
    const folder = open(name, folderFlags);
    if (folder === undefined) return [];
    try {
      return readdirSync(`/proc/self/fd/${folder.number}`);
    } finally {
      folder.close();
    }
  }

  function openEmptyDir(podUid: string, name: string): FoundFolder {
    const folder = open(`${podUid}/volumes/kubernetes.io~empty-dir/${name}`, folderFlags);
    if (folder !== undefined) return { is: "found", folder };
    return { is: "refused", reason: "VolumeNotFound", message: `The kubelet has no folder of an emptyDir named ${name} for this pod.` };
  }

  function openClaim(podUid: string, { name, persistentVolume }: WantedVolume): FoundFolder {
    const plugins = list(`${podUid}/volumes`).filter((plugin) => !noClaims.has(plugin));
    const places = plugins.flatMap((plugin) => {
      const folder = `${podUid}/volumes/${plugin}`;
      const tail = plugin === "kubernetes.io~csi" ? "/mount" : "";
      return (persistentVolume === undefined ? list(folder) : [persistentVolume]).map((entry) => `${folder}/${entry}${tail}`);
    });
    const found = places.flatMap((place) => open(place, folderFlags) ?? []);
    const [folder, ...others] = found;
    if (folder !== undefined && others.length === 0) return { is: "found", folder };
    for (const one of found) one.close();
    if (folder === undefined) {
      const which = persistentVolume === undefined ? "" : ` (persistent volume ${persistentVolume})`;
      return {
        is: "refused",
        reason: "VolumeNotFound",
        message: `The kubelet has no folder of its own for the claim of volume ${name}${which}, as is the case for persistent volumes of type hostPath. Use one of type local or csi.`,
      };
    }
    return {
      is: "refused",
      reason: "VolumeNotUnique",
      message: `The pod has ${found.length} volumes that may be ${name} for all that the node knows. Delete the pod, so that it comes with a sidecar of this version, which knows their names.`,
    };
  }

  return {
    path,
    has(podUid) {
      const folder = open(podUid, folderFlags);
      folder?.close();
      return folder !== undefined;
    },
    openVolume: (podUid, volume) => (volume.source === "emptyDir" ? openEmptyDir(podUid, volume.name) : openClaim(podUid, volume)),
    openSocket(podUid) {
      const found = open([podUid, ...stateSteps, socketName].join("/"), openFlags.O_PATH | openFlags.O_NOFOLLOW);
      if (found === undefined || fstatSync(found.number).isSocket()) return found;
      found.close();
      return undefined;
    },
    close: () => closeSync(pods),
  };
}

/** Not there, or not what it should be: a link, a file. */
const isNoSuch: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "ELOOP", "EXDEV"]);

import { constants, openSync } from "node:fs";
import { join } from "node:path";
import { closeAll, Descriptor } from "../../../agent/descriptors.ts";
import type { Clock } from "../../../common/clock.ts";
import type { Log } from "../../../common/log.ts";
import { type ServedVolume, sidecarPaths } from "../../../common/sidecar-layout.ts";
import type { FileServers } from "../file-servers.ts";
import type { IoFault } from "../../../proto/gen/faults.ts";
import { NotServedError, type VolumeState } from "../volume-keeper.ts";
import { VolumeServer } from "../volume-server.ts";
import { unmountOurs } from "./mounts.ts";

export interface LibfuseKeeperOptions {
  /** The entry point of this program. */
  readonly main: string;
  readonly environment: NodeJS.ProcessEnv;
  /** Where the volumes are mounted, by their names. */
  readonly folder?: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Before the postStart hook ends, see sidecar/wait.ts: what containers have open would go past a mount that comes later. */
const FIRST_MOUNT_WITHIN_MS = 9_000;

const TOO_LATE: VolumeState = {
  is: "refused",
  reason: "ContainersRun",
  message:
    "Its server did not come up before the pod's containers did. Files that they have open would go past the mount, so it is left as it is. The log of the sidecar says what the server met; delete the pod to try again.",
};

/**
 * Has the volumes of this pod served through libfuse, each by a process that mounts over the sidecar's own mount of it. One that comes after another's
 * death mounts over what that one left, which reaches containers that run: their own mount is of what was mounted when they started. Where one of them
 * has it read-only it must not, and all of them have the dead one until they are started again.
 */
export function openLibfuseKeeper(
  volumes: readonly ServedVolume[],
  { main, environment, folder = sidecarPaths.volumes, clock, log }: LibfuseKeeperOptions,
): FileServers & { close(): Promise<void> } {
  const listeners: (() => void)[] = [];
  const tell = (): void => {
    for (const listener of listeners) listener();
  };
  const refused = judgePlatform();
  const folderOf = (volume: string): string => join(folder, volume);
  const plains: Descriptor[] = [];
  const late = new Set<string>();
  const servers = new Map(
    (refused === undefined ? volumes : []).map(({ name, source, hasReadOnlyMount }) => {
      const plain = openPlain(folderOf(name));
      plains.push(plain);
      const server = new VolumeServer(
        { name, descriptors: [plain], init: undefined, isShared: source === "claim" },
        {
          command: [process.execPath, "--max-semi-space-size=1", main, "serve-libfuse", name],
          environment,
          clock,
          log,
          notifier: undefined,
          onServing() {
            log.info({ volume: name }, "a volume is served through libfuse");
            tell();
          },
          onDeath() {
            if (hasReadOnlyMount === true || server.init === undefined) unmountOurs(folderOf(name));
            log.warn({ volume: name }, "whoever had files of a volume open has lost them");
            tell();
          },
          onUnmounted: tell,
        },
      );
      return [name, server] as const;
    }),
  );
  const cancelLate = clock.after(FIRST_MOUNT_WITHIN_MS, () => {
    for (const [name, server] of servers) {
      if (server.init !== undefined) continue;
      late.add(name);
      log.error({ volume: name }, "a volume is left as it is: its server did not come up before the pod's containers");
      void server.close().then(() => unmountOurs(folderOf(name)));
    }
    tell();
  });
  const stateOf = (name: string): VolumeState =>
    refused ??
    (late.has(name) ? TOO_LATE : undefined) ??
    (servers.get(name)?.isServing === true
      ? { is: "serving" }
      : { is: "waiting", why: "Its server is started; if it does not come up, the log of the sidecar says why." });
  return {
    state: () => new Map(volumes.map(({ name }) => [name, stateOf(name)])),
    refusalOf,
    async rule(volume, faults) {
      const server = servers.get(volume);
      if (server === undefined && faults.length > 0) throw new NotServedError(`Volume ${volume} is not served through libfuse.`);
      await server?.rule(faults);
    },
    count: (volume) => servers.get(volume)?.count() ?? Promise.resolve([]),
    onChange: (callback) => void listeners.push(callback),
    async close() {
      cancelLate();
      for (const [name, server] of servers) {
        // First: the kubelet removes the folder of the volume, and must not find a mount that nobody answers for.
        unmountOurs(folderOf(name));
        await server.close();
      }
      closeAll(plains);
    },
  };
}

/** The folder of a volume as it is below our mounts: the one of an earlier life goes, those to come do not cover what is open. */
function openPlain(folder: string): Descriptor {
  unmountOurs(folder);
  return new Descriptor(openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY));
}

/**
 * A file that seems to be of another type is another file to the kernel, which gives the true one up for ever, with all who have it open; and libfuse
 * lets nobody number them apart.
 */
function refusalOf({ effect }: IoFault): ReturnType<FileServers["refusalOf"]> {
  if (effect?.$case !== "attributes" || effect.value.kind === undefined) return undefined;
  return {
    reason: "LibfuseNotSupported",
    message:
      "attr.kind is not possible on a volume that is served through libfuse: files would stay lost after it. Leave it out, or have the volume served by the node's daemon.",
  };
}

function judgePlatform(): VolumeState | undefined {
  if (process.arch === "x64") return undefined;
  return {
    is: "refused",
    reason: "LibfuseNotSupported",
    message: `libfuse serves volumes on x86_64 alone, and this node is ${process.arch}. Run Squall's daemon there, and take squall.dev/files-driver off the namespace.`,
  };
}

import { join } from "node:path";
import type { Clock } from "../../../common/clock.ts";
import type { Log } from "../../../common/log.ts";
import { type ServedVolume, sidecarPaths } from "../../../common/sidecar-layout.ts";
import type { FileServers } from "../file-servers.ts";
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

/** Has the volumes of this pod served through libfuse, each by a process that mounts over the sidecar's own mount of it. */
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
  const servers = new Map(
    (refused === undefined ? volumes : []).map(({ name }) => [
      name,
      new VolumeServer(
        { name, descriptors: [], init: undefined },
        {
          command: [process.execPath, "--max-semi-space-size=1", main, "serve-libfuse", name, folderOf(name)],
          environment,
          clock,
          log,
          onServing() {
            log.info({ volume: name }, "a volume is served through libfuse");
            tell();
          },
          onDeath() {
            log.warn({ volume: name }, "containers that run have lost the volume until they are started again");
            tell();
          },
          onUnmounted: tell,
        },
      ),
    ]),
  );
  const stateOf = (name: string): VolumeState => refused ?? { is: servers.get(name)?.isServing === true ? "serving" : "waiting" };
  return {
    state: () => new Map(volumes.map(({ name }) => [name, stateOf(name)])),
    async rule(volume, faults) {
      const server = servers.get(volume);
      if (server === undefined && faults.length > 0) throw new NotServedError(`Volume ${volume} is not served through libfuse.`);
      await server?.rule(faults);
    },
    count: (volume) => servers.get(volume)?.count() ?? Promise.resolve([]),
    onChange: (callback) => void listeners.push(callback),
    async close() {
      for (const [name, server] of servers) {
        // First: the kubelet removes the folder of the volume, and must not find a mount that nobody answers for.
        unmountOurs(folderOf(name));
        await server.close();
      }
    },
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

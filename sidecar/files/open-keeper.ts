import { openDescriptorSockets } from "../../agent/descriptors.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { type ServedVolume, sidecarPaths } from "../../common/sidecar-layout.ts";
import { VolumeKeeper } from "./volume-keeper.ts";

/** Has the volumes of this pod served by processes of this very program, as soon as the node's daemon hands them over. */
export async function openKeeper(
  volumes: readonly ServedVolume[],
  {
    main,
    environment,
    podUid,
    clock,
    log,
  }: {
    /** The entry point of this program. */
    readonly main: string;
    readonly environment: NodeJS.ProcessEnv;
    readonly podUid: string;
    readonly clock: Clock;
    readonly log: Log;
  },
): Promise<VolumeKeeper> {
  const keeper = new VolumeKeeper({
    podUid,
    volumes,
    socketPath: sidecarPaths.filesSocket,
    // Without the snapshot of Node's own start it needs 5 MB less, and some hundredths of a second more.
    command: [process.execPath, "--max-semi-space-size=1", "--no-node-snapshot", main, "serve-files"],
    environment,
    sockets: openDescriptorSockets(),
    clock,
    log,
  });
  await keeper.start();
  return keeper;
}

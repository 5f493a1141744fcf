import { openDescriptorSockets } from "../../agent/descriptors.ts";
import type { Clock } from "../../common/clock.ts";
import type { Log } from "../../common/log.ts";
import { type ServedVolume, sidecarPaths } from "../../common/sidecar-layout.ts";
import { namelessOf, type Naming, readPersistentVolumes, writePersistentVolumes } from "./persistent-volumes.ts";
import { VolumeKeeper } from "./volume-keeper.ts";

export interface OpenedKeeper {
  readonly servers: VolumeKeeper;
  /** Undefined where nothing is waited for but the daemon. */
  readonly naming: Naming | undefined;
}

/**
 * Has the volumes of this pod served by processes of this very program, as soon as the node's daemon hands them over: at once, or where the pod has several
 * claims once it is known which persistent volume each of them is of.
 */
export async function openKeeper(
  volumes: readonly ServedVolume[],
  {
    main,
    environment,
    podUid,
    socketPath = sidecarPaths.filesSocket,
    namesPath = sidecarPaths.persistentVolumes,
    clock,
    log,
  }: {
    /** The entry point of this program. */
    readonly main: string;
    readonly environment: NodeJS.ProcessEnv;
    readonly podUid: string;
    readonly socketPath?: string | undefined;
    readonly namesPath?: string | undefined;
    readonly clock: Clock;
    readonly log: Log;
  },
): Promise<OpenedKeeper> {
  const keeper = new VolumeKeeper({
    podUid,
    volumes,
    socketPath,
    // Without the snapshot of Node's own start it needs 5 MB less, and some hundredths of a second more.
    command: [process.execPath, "--max-semi-space-size=1", "--no-node-snapshot", main, "serve-files"],
    environment,
    sockets: openDescriptorSockets(),
    clock,
    log,
  });
  const nameless = namelessOf(volumes);
  const known = nameless.length === 0 ? new Map<string, string>() : await readPersistentVolumes(nameless, namesPath);
  if (known !== undefined) {
    await keeper.start(known);
    return { servers: keeper, naming: undefined };
  }
  return {
    servers: keeper,
    naming: {
      volumes: nameless,
      async tell(names) {
        const all = new Map(Object.entries(names));
        const told = new Map(nameless.map((name) => [name, all.get(name)]));
        log.info({ persistentVolumes: names }, "persistent volumes of the pod are known");
        await writePersistentVolumes(told, namesPath).catch((error: unknown) =>
          log.error(
            { err: error },
            "names of persistent volumes could not be written down: the next life of this sidecar asks for them again",
          ),
        );
        await keeper.start(told);
      },
    },
  };
}

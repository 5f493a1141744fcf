import { readdirSync, readlinkSync, write } from "node:fs";
import { promisify } from "node:util";
import type { Log } from "../../../common/log.ts";
import { readDescriptorLimit } from "../descriptor-limit.ts";
import { FaultLayer } from "../fault-layer.ts";
import { invalidateNode } from "../kernel/protocol.ts";
import { openLibc } from "../libc.ts";
import { openPassthrough } from "../passthrough.ts";
import type { FromServer, ToServer } from "../server-messages.ts";
import { loadFuseNative } from "./fuse-native.ts";
import { openMemory } from "./memory.ts";
import { MOUNT_NAME, readMountOptions } from "./mounts.ts";
import { createVolumeHandlers } from "./volume-handlers.ts";

const writeAsync = promisify(write);
/**
 * See mount.fuse(8). Names and attributes are asked for anew each time: libfuse keeps one time-out for all of a mount's life, and faults come and go. Who
 * may do what is the kernel's to say. Requests are read and not spliced, so that the driver finds them (kernel-requests.ts).
 */
const OPTIONS = [
  "allow_other",
  "default_permissions",
  "nonempty",
  "use_ino",
  "big_writes",
  "max_write=131072",
  "atomic_o_trunc",
  "no_splice_read",
  "attr_timeout=0",
  "entry_timeout=0",
  "negative_timeout=0",
] as const;

/** libfuse closes its descriptor when the session is over, by `umount -f` for instance, and tells nobody. */
const LOOKS_EVERY_MS = 1000;

export interface ServeLibfuseOptions {
  readonly volume: string;
  readonly log: Log;
  readonly exit: (code: number) => void;
}

/** Descriptor of the folder of the volume, as it is below all mounts of ours. */
const FOLDER = 3;
const PLACE = `/proc/self/fd/${FOLDER}`;

/**
 * The server process of one volume through libfuse: `sidecar.mjs serve-libfuse NAME`, started by the sidecar with the folder of the volume and a channel
 * for the messages of server-messages.ts. Mounts over the folder, and over whatever an earlier server has mounted there. It must never name a file
 * below the mount itself: nobody would answer. Ends with the channel; whoever started it takes the mount away.
 */
export function serveLibfuse({ volume, log, exit }: ServeLibfuseOptions): void {
  process.umask(0); // modes are the caller's
  const native = loadFuseNative();
  const libc = openLibc();
  const nowMs = (): number => performance.now();
  const faults = new FaultLayer({ nowMs, random: Math.random });
  const files = openPassthrough({ libc, folder: FOLDER, maxDescriptors: readDescriptorLimit() });
  const say = (message: FromServer): void => void process.send?.(message);
  /** Of /dev/fuse, once the kernel has said hello. */
  let fuse: number | undefined;
  /** Nodes that the kernel is to drop data of. Not on this thread: it may wait for what this one has to answer. */
  const stale = new Set<bigint>();
  let dropping: Promise<void> = Promise.resolve();

  function drop(nodes: Iterable<bigint>): Promise<void> {
    for (const node of nodes) stale.add(node);
    dropping = dropping.then(async () => {
      const taken = [...stale];
      stale.clear();
      // A node that the kernel does not have any more needs no message.
      if (fuse !== undefined) for (const node of taken) await writeAsync(fuse, invalidateNode(Number(node))).catch(() => undefined);
    });
    return dropping;
  }

  const { handlers, onRulesChanged } = createVolumeHandlers({
    native,
    memory: openMemory(),
    files,
    faults,
    onUnknown(error) {
      log.error({ err: error, volume }, "this libfuse cannot be used");
      exit(1);
    },
    onInit() {
      const descriptor = findFuse();
      fuse = descriptor;
      setInterval(() => {
        if (isFuse(descriptor)) return;
        log.error({ volume }, "the kernel has ended the session of a volume");
        exit(1);
      }, LOOKS_EVERY_MS);
      say({ is: "serving", init: "" });
    },
    onStale: (node) => void drop([node]),
    onBug: (error) => log.error({ err: error, volume }, "a file operation failed inside the server; it was answered with EIO"),
    nowMs,
    random: Math.random,
  });
  process.on("message", (message: ToServer) => {
    switch (message.do) {
      case "serve":
        // By its descriptor libfuse finds the folder itself, and not a dead mount on it; the kernel mounts on top of all the same.
        native.mount(PLACE, [...OPTIONS, ...readMountOptions(readlinkSync(PLACE)), `fsname=${MOUNT_NAME}${volume}`].join(","), handlers);
        break;
      case "rule":
        faults.rule(message.faults);
        void drop(onRulesChanged()).then(() => say({ is: "ruled", version: message.version }));
        break;
      case "count":
        say({ is: "counted", faults: faults.counts() });
        break;
      case "note-sent": // it sends its messages itself
        break;
    }
  });
  process.on("disconnect", () => exit(0));
}

/** libfuse does not tell which descriptor it has. */
function findFuse(): number {
  const found = readdirSync("/proc/self/fd").map(Number).find(isFuse);
  if (found === undefined) throw new Error("This process has no descriptor of /dev/fuse.");
  return found;
}

function isFuse(descriptor: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`) === "/dev/fuse";
  } catch {
    return false; // closed
  }
}

import { readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { openDescriptorSockets } from "../../../agent/descriptors.ts";
import type { ServedVolume } from "../../../common/sidecar-layout.ts";
import { systemClock } from "../../../common/clock.ts";
import { createLog } from "../../../common/log.ts";
import { invalidateNode } from "../../../sidecar/files/kernel/protocol.ts";
import { Notifier } from "../../../sidecar/files/notifier.ts";
import type { ServedFault } from "../../../sidecar/files/server-messages.ts";
import { VolumeKeeper } from "../../../sidecar/files/volume-keeper.ts";

/** What a test says to a sidecar's keeper, which is a process of its own: it is killed. */
export interface ToSidecar {
  readonly number: number;
  readonly ask: "state" | "rule" | "count" | "drop";
  readonly volume?: string;
  readonly faults?: readonly ServedFault[];
  /** Has the kernel drop what it keeps of it, as a rule does. */
  readonly node?: number;
}

const [podUid = "", longSocketPath = "", members = "", volumes = "", persistentVolumes = ""] = process.argv.slice(2);
writeFileSync(members, String(process.pid));
process.chdir(dirname(longSocketPath)); // in a pod the path is short enough for the address of a socket
const wanted: readonly ServedVolume[] = JSON.parse(volumes);
const keeper = new VolumeKeeper({
  podUid,
  volumes: wanted,
  socketPath: basename(longSocketPath),
  command: [
    process.execPath,
    "--max-semi-space-size=1",
    "--no-node-snapshot",
    join(import.meta.dirname, "../../../sidecar/main.ts"),
    "serve-files",
  ],
  environment: {},
  sockets: openDescriptorSockets(),
  clock: systemClock,
  log: createLog({ process: "sidecar", level: process.env["SQUALL_LOG_LEVEL"] === "debug" ? "debug" : "error" }),
});
keeper.onChange(() => process.send?.({ changed: [...keeper.state()] }));
process.on("message", ({ number, ask, volume = "", faults = [], node = 0 }: ToSidecar) => {
  const answer = async (): Promise<unknown> => {
    switch (ask) {
      case "state":
        return [...keeper.state()];
      case "rule":
        return keeper.rule(volume, faults);
      case "count":
        return keeper.count(volume);
      case "drop":
        return new Notifier(fuse()).send(invalidateNode(node), { isAwaited: false });
    }
  };
  answer().then(
    (value) => process.send?.({ number, value }),
    (error: unknown) => process.send?.({ number, error: String(error) }),
  );
});
const fuse = (): number => readdirSync("/proc/self/fd").map(Number).find(isFuse) ?? -1;
function isFuse(descriptor: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`) === "/dev/fuse";
  } catch {
    return false; // that of the folder itself
  }
}
process.on("disconnect", () => process.exit(0));
const named: Readonly<Record<string, string>> = JSON.parse(persistentVolumes);
await keeper.start(new Map(Object.entries(named)));
process.send?.({ started: true });

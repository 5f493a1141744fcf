import { join } from "node:path";
import { systemClock } from "../../../common/clock.ts";
import { createLog } from "../../../common/log.ts";
import { startVolumes } from "../../../daemon/volumes/volumes.ts";

/** The daemon's part of volumes, as a process of its own: it is killed. */
const [kubeletFolder = "", nodeProcess = ""] = process.argv.slice(2);
setInterval(() => undefined, 2 ** 30);
const volumes = await startVolumes({
  kubeletFolder,
  hostCgroups: "/sys/fs/cgroup",
  main: join(import.meta.dirname, "../../../daemon/main.ts"),
  nodeProcess: Number(nodeProcess),
  clock: systemClock,
  log: createLog({ process: "daemon", level: process.env["SQUALL_LOG_LEVEL"] === "debug" ? "debug" : "error" }),
});
process.on("message", (message) => {
  if (message === "detach") void volumes.detach().then((count) => process.send?.({ count }));
  else process.send?.({ states: volumes.states });
});
process.on("disconnect", () => void volumes.close().then(() => process.exit(0)));
process.send?.({ started: true, missing: volumes.missing });

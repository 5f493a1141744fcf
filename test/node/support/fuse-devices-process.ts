import { spawn } from "node:child_process";
import { closeSync, fstatSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openDescriptorSockets } from "../../../agent/descriptors.ts";
import { systemClock } from "../../../common/clock.ts";
import { createLog } from "../../../common/log.ts";
import { createFuseDevices } from "../../../daemon/volumes/fuse-devices.ts";

/** A daemon in a group, as far as /dev/fuse goes: prints what it gets. */
const [act = "", nodeProcess = "", folder = ""] = process.argv.slice(2);

/** A container has a cgroup namespace of its own. */
function enter(): void {
  writeFileSync(join(folder, "cgroup.procs"), String(process.pid));
  const argv = ["--pdeathsig", "KILL", "unshare", "--cgroup", process.execPath, import.meta.filename, "take", nodeProcess];
  spawn("setpriv", argv, { stdio: "inherit" }).once("exit", (code) => process.exit(code ?? 1));
}

async function take(): Promise<void> {
  const devices = createFuseDevices({
    main: join(import.meta.dirname, "../../../daemon/main.ts"),
    sockets: openDescriptorSockets(),
    nodeProcess: Number(nodeProcess),
    hostCgroups: "/sys/fs/cgroup",
    clock: systemClock,
    log: createLog({ process: "daemon", level: "warn" }),
  });
  const taken: string[] = [];
  for (let count = 0; count < 3; count += 1) {
    const device = await devices.take();
    const { rdev } = fstatSync(device.number);
    taken.push(`${rdev >> 8}:${rdev & 0xff}`);
    device.close();
  }
  devices.close();
  process.stdout.write(JSON.stringify({ itself: openItself(), taken }));
}

function openItself(): string {
  try {
    closeSync(openSync("/dev/fuse", "r+"));
    return "opened";
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  }
}

if (act === "enter") enter();
else await take();

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { type DeviceGroup, openDeviceGroup } from "./support/device-group.ts";

const run = promisify(execFile);
const PROGRAM = join(import.meta.dirname, "support/fuse-devices-process.ts");

describe("/dev/fuse, in a container that is not privileged", function () {
  this.timeout(60_000);
  let group: DeviceGroup;

  before(async () => {
    group = await openDeviceGroup("10:229");
    console.log(`    cgroup v${group.version}`);
  });
  after(() => group.close());

  it("cannot be opened by the daemon itself, and comes from a helper that leaves its groups", async () => {
    const { stdout } = await run(process.execPath, [PROGRAM, "enter", String(process.pid), group.folder], {
      timeout: 30_000,
      killSignal: "SIGKILL",
    });
    assert.deepEqual(JSON.parse(stdout), { itself: "EPERM", taken: ["10:229", "10:229", "10:229"] });
  });
});

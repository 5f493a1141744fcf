import assert from "node:assert/strict";
import { renderLaunch } from "../../../daemon/stress/launch.ts";

describe("renderLaunch", () => {
  const launch = { pid: 42, entersUserNamespace: false, killAfterSeconds: 62, arguments: ["--cpu", "1"] };

  it("drops all privileges before stress-ng, and dies with the daemon and the target", () => {
    assert.equal(
      renderLaunch(launch).join(" "),
      [
        "/usr/bin/nsenter --no-fork --pid=/proc/42/ns/pid /usr/bin/setpriv --pdeathsig KILL /usr/bin/xargs --null --no-run-if-empty",
        "/usr/bin/unshare --pid --net --ipc /usr/bin/prlimit --core=0:0 --fsize=0:0",
        "/usr/bin/setpriv --reuid 65011 --regid 65011 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs --pdeathsig KILL",
        "/usr/bin/timeout --signal=KILL 62 /usr/bin/setpriv --pdeathsig KILL /usr/bin/stress-ng --cpu 1",
      ].join(" "),
    );
  });

  it("enters the user namespace of a target that has one", () => {
    assert.equal(renderLaunch({ ...launch, entersUserNamespace: true })[2], "--user=/proc/42/ns/user");
  });
});

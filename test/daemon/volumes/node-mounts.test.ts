import assert from "node:assert/strict";
import { parseMounts } from "../../../daemon/volumes/node-mounts.ts";
import { namesPod } from "../../../daemon/volumes/pod-members.ts";
import { stateSteps } from "../../../daemon/volumes/pod-folders.ts";
import { ownVolumes } from "../../../api/injection-sidecar.ts";

const podUid = "077a230c-5c1d-4e26-9966-86a7bc733b71";
const folder = `/var/lib/kubelet/pods/${podUid}/volumes/kubernetes.io~empty-dir/data`;
const line = (path: string, type: string, source: string): string =>
  `310 29 0:72 / ${path} rw,relatime shared:150 - ${type} ${source} rw,user_id=0,group_id=0,default_permissions,allow_other`;

describe("parseMounts", () => {
  it("finds our mounts on volumes, and no copies of them or mounts of others", () => {
    const text = [
      line(folder, "fuse", `squall-${podUid}/data`),
      line(`/var/lib/kubelet/pods/${podUid}/volume-subpaths/data/main/0`, "fuse", `squall-${podUid}/data`),
      line(`${folder}2`, "fuse", "sshfs"),
      line(`${folder}3`, "tmpfs", `squall-${podUid}/data`),
      line(folder.replace("077a", "1111"), "fuse", `squall-${podUid}/data`),
      line(folder, "fuse", "squall-../data"),
      "",
    ].join("\n");
    assert.deepEqual(parseMounts(text), [{ podUid, volume: "data", path: folder }]);
  });

  it("reads names as they are", () => {
    const [found] = parseMounts(line(folder.replace("/var/lib", "/var\\040lib"), "fuse", `squall-${podUid}/data`));
    assert.equal(found?.path, folder.replace("/var/lib", "/var lib"));
  });
});

describe("namesPod", () => {
  it("knows a pod's groups as the kubelet and as systemd name them, and no other's", () => {
    const slice = podUid.replaceAll("-", "_");
    assert.equal(namesPod(`4:memory:/kubepods/burstable/pod${podUid}/0123`, podUid), true);
    assert.equal(namesPod(`0::/../../kubepods-pod${slice}.slice/cri-containerd-0123.scope`, podUid), true);
    assert.equal(namesPod(`0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${slice}.slice`, podUid), true);
    assert.equal(namesPod(`4:memory:/kubepods/pod${podUid}0/0123`, podUid), false);
    assert.equal(namesPod(`4:memory:/kubepods/xpod${podUid}/0123`, podUid), false);
    assert.equal(namesPod("4:memory:/", podUid), false);
  });
});

describe("the daemon's way to a sidecar's socket", () => {
  it("is the volume that the injector mounts for its state", () => {
    assert.equal(stateSteps.at(-1), ownVolumes.state);
  });
});

import assert from "node:assert/strict";
import { whyNoVolume } from "../../api/volume-mounts.ts";
import { pods } from "../../kube/resources.ts";

const sidecar = (served: readonly string[]) => ({
  name: "squall-sidecar",
  env: [{ name: "SQUALL_VOLUMES", value: JSON.stringify(served.map((name) => ({ name, source: "emptyDir" }))) }],
});

/** A pod with volumes of several kinds, as the API server has it. */
function podWith({ served = ["data", "cache"], hasSidecar = true, asked = served, app = mounts }: PodParts = {}) {
  return pods.parse({
    metadata: { name: "db-0", namespace: "shop", uid: "u", annotations: { "squall.dev/volumes": asked.join(", ") } },
    spec: {
      volumes: [
        { name: "data", persistentVolumeClaim: { claimName: "db" } },
        { name: "cache", emptyDir: {} },
        { name: "spare", emptyDir: {} },
        { name: "conf", configMap: { name: "db" } },
        { name: "token", projected: {} },
      ],
      containers: [
        { name: "db", volumeMounts: app },
        { name: "log", volumeMounts: [{ name: "cache", mountPath: "/cache/" }] },
      ],
      initContainers: hasSidecar ? [sidecar(served)] : [],
    },
  });
}
interface PodParts {
  readonly served?: readonly string[];
  readonly asked?: readonly string[];
  readonly hasSidecar?: boolean;
  readonly app?: readonly object[];
}

const mounts = [
  { name: "data", mountPath: "/var//lib/db/", subPath: "db/" },
  { name: "cache", mountPath: "/cache", subPathExpr: "$(POD_NAME)" },
  { name: "spare", mountPath: "/spare" },
  { name: "conf", mountPath: "/etc/db" },
  { name: "token", mountPath: "/var/run/secrets/kubernetes.io/serviceaccount" },
];

describe("mounts of a pod", () => {
  it("are kept of pods with a sidecar, without the API server's token, with what their volumes are", () => {
    assert.deepEqual(
      podWith().spec.containers.map(({ mounts: found }) => found),
      [
        [
          { path: "/var/lib/db", volume: "data", source: "persistentVolumeClaim", subPath: "db", isServed: true },
          { path: "/cache", volume: "cache", source: "emptyDir", isComputed: true, isServed: true },
          { path: "/spare", volume: "spare", source: "emptyDir" },
          { path: "/etc/db", volume: "conf", source: "configMap" },
        ],
        [{ path: "/cache", volume: "cache", source: "emptyDir", isServed: true }],
      ],
    );
    assert.ok(podWith({ hasSidecar: false }).spec.containers.every(({ mounts: found }) => found === undefined));
  });

  const rows: readonly (readonly [containers: readonly string[], path: string, why: string | undefined, parts?: PodParts])[] = [
    [["db"], "/var/lib/db", undefined],
    [["db"], "/var/lib/db/", undefined],
    [["log"], "//cache", undefined],
    [
      ["db"],
      "/dat",
      'NoVolume: Container db has no volume at "/dat". Served through FUSE are "/var/lib/db" (volume data), "/cache" (volume cache).',
    ],
    [
      ["db"],
      "/var/lib/db/wal",
      'NoVolume: Container db has no volume at "/var/lib/db/wal". It is inside volume data: write volumePath: /var/lib/db and path: /var/lib/db/wal/**.',
    ],
    [
      ["db"],
      "/",
      'NoVolume: Container db has no volume at "/". Served through FUSE are "/var/lib/db" (volume data), "/cache" (volume cache).',
    ],
    // Each of them is to be faulted.
    [
      ["db", "log"],
      "/var/lib/db",
      'NoVolume: Container log has no volume at "/var/lib/db". Served through FUSE are "/cache" (volume cache).',
    ],
    [
      ["db"],
      "/dat",
      'NoVolume: Container db has no volume at "/dat". None of its volumes is served through FUSE: name some in the annotation squall.dev/volumes of the pod template. It has "/var/lib/db" (volume data), "/cache" (volume cache), "/spare" (volume spare).',
      { served: [] },
    ],
    [
      ["db"],
      "/dat",
      'NoVolume: Container db has no volume at "/dat". It mounts no volume that can be served: emptyDir, persistentVolumeClaim or ephemeral.',
      { app: [{ name: "conf", mountPath: "/etc/db" }] },
    ],
    [
      ["db"],
      "/spare",
      'VolumeNotServed: Container db has volume spare at "/spare", which is not served through FUSE. Add it to the annotation squall.dev/volumes of the pod template, and roll the workload out.',
    ],
    [
      ["db"],
      "/spare",
      'VolumeNotServed: Container db has volume spare at "/spare", which squall.dev/volumes names and which is not served all the same: a warning (VolumeNotServed) said why when the pod was made.',
      { asked: ["data", "spare"] },
    ],
    [
      ["db"],
      "/etc/db",
      'VolumeNotServed: Container db has volume conf at "/etc/db", which is of the kind configMap. Files of emptyDir, persistentVolumeClaim and ephemeral can be faulted.',
    ],
    [
      ["db"],
      "/cache",
      'VolumeNotServed: Container db has volume cache at "/cache", by subPathExpr, so that only the kubelet knows which folder of it. Write subPath instead.',
    ],
  ];
  for (const [containers, path, why, parts] of rows)
    it(`${containers.join(", ")} ${path}: ${why ?? "files can be faulted"}`, () => {
      const skip = whyNoVolume(podWith(parts), containers, path);
      assert.equal(skip && `${skip.reason}: ${skip.message}`, why);
    });

  it("name the first eight of many", () => {
    const app = Array.from({ length: 12 }, (_, index) => ({ name: "cache", mountPath: `/m${index}` }));
    assert.match(whyNoVolume(podWith({ app }), ["db"], "/x")?.message ?? "", /"\/m7" \(volume cache\), 4 more\.$/);
  });
});

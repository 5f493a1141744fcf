import assert from "node:assert/strict";
import { experiments, type SpecOf } from "../../../api/kinds/experiments.ts";
import { experimentResource } from "../../../kube/experiments.ts";
import { ioChaos } from "../../../controller/kinds/io-chaos.ts";
import { ExperimentCluster, type PodOptions } from "../../support/experiment-cluster.ts";

function specOf(spec: object): SpecOf<"IOChaos"> {
  const judged = experiments.IOChaos.judge({ metadata: {}, spec: { mode: "all", volumePath: "/data/", ...spec } }, { namespace: "shop" });
  return judged.ok ? judged.spec : assert.fail(JSON.stringify(judged.errors));
}

const mounts = [{ path: "/data", volume: "data", source: "emptyDir", subPath: "db", isServed: true }];

/** The one fault that a spec means for a container with a volume at /data. */
function faultOf(spec: object): object {
  const target = { selectorKey: ".", id: "shop/db-0/db", uid: "u", addresses: [], hasAgent: true, mounts } as const;
  const around = { sources: [target], targets: [], coverServices: () => ({ addresses: [], partly: [] }) };
  const [found, ...more] = ioChaos.faultsOf(specOf(spec), around);
  assert.deepEqual(more, []);
  assert.ok(found?.family.$case === "io");
  return found.family.value;
}

describe("the fault that an IOChaos means", () => {
  const plain = { volume: "data", mountPath: "/data", subPath: "db", path: "", methods: [], percent: 100 };
  const rows: readonly (readonly [spec: object, fault: object])[] = [
    [
      { action: "latency", delay: "1.5ms", path: "/data/wal/**", methods: ["WRITE", "fsync"], percent: 40 },
      { path: "/data/wal/**", methods: ["write", "fsync"], percent: 40, effect: { $case: "latency", value: { delayUs: 1_500 } } },
    ],
    [
      { action: "fault", errno: 28, percent: 0 },
      { percent: 0, effect: { $case: "error", value: { errno: 28 } } },
    ],
    [
      { action: "attrOverride", attr: { kind: "namedPipe", perm: 0o104755, uid: 0, mtime: { sec: -1, nsec: 5 } } },
      {
        effect: {
          $case: "attributes",
          value: {
            kind: 0o010000,
            perm: 0o4755,
            uid: 0,
            atime: undefined,
            mtime: { seconds: -1, nanos: 5 },
            ctime: undefined,
          },
        },
      },
    ],
    [
      { action: "mistake", mistake: { filling: "zero", maxOccurrences: 2, maxLength: 3 } },
      { effect: { $case: "mistake", value: { filling: 1, maxOccurrences: 2, maxLength: 3 } } },
    ],
    [
      { action: "mistake", mistake: { filling: "random", maxOccurrences: 1, maxLength: 1 }, errno: 5, delay: "1s" },
      { effect: { $case: "mistake", value: { filling: 2, maxOccurrences: 1, maxLength: 1 } } },
    ],
  ];
  for (const [spec, fault] of rows) it(JSON.stringify(spec), () => assert.deepEqual(faultOf(spec), { ...plain, ...fault }));
});

describe("IOChaos", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());

  const store: PodOptions = {
    containers: { db: "containerd://1", log: "containerd://2" },
    volumes: [{ name: "data", emptyDir: {} }],
    mounts: {
      db: [{ name: "data", mountPath: "/data" }],
      log: [{ name: "data", mountPath: "/data", subPath: "log" }],
    },
    served: ["data"],
  };
  const slow = { action: "latency", volumePath: "/data", delay: "10ms" };

  it("is the sidecar's: one fault for each container, with an id of its own, all taken back at the end", async () => {
    const uid = cluster.addPod("a", store);
    const { metadata } = await cluster.apply("IOChaos", "slow", { ...slow, containerNames: ["log", "db"] });
    assert.deepEqual(cluster.records("slow", "IOChaos"), ["shop/a/db: Injected", "shop/a/log: Injected"]);
    const sidecar = cluster.agents.of(uid);
    assert.deepEqual(
      sidecar.faults.map(({ id, target, family }) => [id, target, family?.$case === "io" && [family.value.volume, family.value.subPath]]),
      [
        [`${metadata.uid}/./db`, undefined, ["data", ""]],
        [`${metadata.uid}/./log`, undefined, ["data", "log"]],
      ],
    );
    await cluster.delete("slow", "IOChaos");
    await cluster.pass(3_000);
    assert.deepEqual(sidecar.inForce, []);
    assert.equal(cluster.find("slow", "IOChaos"), undefined);
  });

  it("takes the first container where none is named", async () => {
    cluster.addPod("a", store);
    await cluster.apply("IOChaos", "slow", slow);
    assert.deepEqual(cluster.records("slow", "IOChaos"), ["shop/a/db: Injected"]);
  });

  it("leaves pods out that do not have the volume there, and says what they have", async () => {
    cluster.addPod("a", store);
    cluster.addPod("b", { ...store, served: [] });
    cluster.addPod("c", { ...store, mounts: { db: [{ name: "data", mountPath: "/var/data" }] } });
    cluster.addPod("d", { ...store, hasSidecar: false });
    await cluster.apply("IOChaos", "slow", slow);
    assert.deepEqual(cluster.records("slow", "IOChaos"), ["shop/a/db: Injected"]);
    const skipped = cluster.experiment("slow", "IOChaos").status.skipped ?? [];
    assert.deepEqual(
      skipped.map(({ id, reason }) => [id, reason]),
      [
        ["shop/b", "VolumeNotServed"],
        ["shop/c", "NoVolume"],
        ["shop/d", "NotInjected"],
      ],
    );
    assert.equal(skipped[1]?.message, 'Container db has no volume at "/data". Served through FUSE are "/var/data" (volume data).');
  });

  it("says so where no pod has the volume there, and starts when one comes", async () => {
    cluster.addPod("a", { ...store, served: [] });
    await cluster.apply("IOChaos", "slow", slow);
    assert.match(cluster.selected("slow", "IOChaos"), /^False NoTargets: .*VolumeNotServed/);
    cluster.addPod("a", store);
    await cluster.pass(31_000);
    assert.deepEqual(cluster.records("slow", "IOChaos"), ["shop/a/db: Injected"]);
  });

  it("joins pods that come later where it follows, those with the volume", async () => {
    cluster.addPod("a", store);
    await cluster.apply("IOChaos", "slow", slow, { "squall.dev/follow": "true" });
    cluster.addPod("b", store);
    cluster.addPod("c", { ...store, mounts: {} });
    await cluster.pass(3_000);
    assert.deepEqual(cluster.records("slow", "IOChaos"), ["shop/a/db: Injected", "shop/b/db: Injected"]);
    assert.deepEqual(
      cluster.experiment("slow", "IOChaos").status.skipped?.map(({ id, reason }) => [id, reason]),
      [["shop/c", "NoVolume"]],
    );
  });

  it("leaves pods out whose sidecar found out that it cannot serve volumes", async () => {
    const uid = cluster.addPod("a", store);
    cluster.experiments.learnPassport(uid, {
      engines: [],
      missing: ["netem: none", "io: There is no /proc/self/fd."],
      iptables: "",
      families: [],
      devices: [],
      volumes: [],
      hasIfb: false,
      hasMeshRedirect: false,
      hasBpf: false,
      familiesOfFaults: ["network"],
    });
    await cluster.apply("IOChaos", "slow", slow);
    const [skipped] = cluster.experiment("slow", "IOChaos").status.skipped ?? [];
    assert.deepEqual(skipped, {
      id: "shop/a",
      reason: "CannotCarry",
      message: "The pod's sidecar serves no volumes. There is no /proc/self/fd.",
    });
  });

  it("shows what came of it by method, and 0 matched where nothing did", async () => {
    const uid = cluster.addPod("a", store);
    await cluster.apply("IOChaos", "slow", slow);
    const receipts = () => cluster.experiment("slow", "IOChaos").status.experiment.containerRecords?.[0]?.receipts;
    const sidecar = cluster.agents.of(uid);
    const none = { matched: 0, delayed: 0, failed: 0, falsified: 0 };
    sidecar.counts = { methods: [{ method: "read", seen: 7, ...none }] };
    sidecar.notify();
    await cluster.pass(31_000);
    assert.deepEqual(receipts(), { matched: 0, dropped: 0, delayed: 0, exempted: 0, methods: { read: { seen: 7, matched: 0 } } });
    sidecar.counts = {
      matched: 5,
      delayed: 3,
      failed: 1,
      falsified: 1,
      methods: [
        { method: "read", seen: 9, matched: 2, delayed: 0, failed: 1, falsified: 1 },
        { method: "write", seen: 3, ...none, matched: 3, delayed: 3 },
      ],
    };
    sidecar.notify();
    await cluster.pass(31_000);
    assert.deepEqual(receipts(), {
      matched: 5,
      dropped: 0,
      delayed: 3,
      exempted: 0,
      failed: 1,
      falsified: 1,
      methods: { read: { seen: 9, matched: 2, failed: 1, falsified: 1 }, write: { seen: 3, matched: 3, delayed: 3 } },
    });
  });

  it("is taken back by the sidecar although its spec cannot be read any more", async () => {
    const uid = cluster.addPod("a", store);
    await cluster.apply("IOChaos", "slow", slow);
    const stored = cluster.find("slow", "IOChaos") ?? assert.fail("it is gone");
    cluster.kube.seed(experimentResource("IOChaos"), { ...stored, spec: { action: "melt" } });
    await cluster.takeOver();
    await cluster.delete("slow", "IOChaos");
    await cluster.pass(3_000);
    assert.deepEqual(cluster.agents.of(uid).inForce, []);
    assert.equal(cluster.find("slow", "IOChaos"), undefined);
    assert.equal(cluster.unconfirmed, 0);
  });
});

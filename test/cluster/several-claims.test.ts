import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { waitUntil } from "../../lab/wait-until.ts";
import { scaleTo, storyCluster } from "./support/cluster.ts";
import { claimSpec, folderOf, localVolume, removeLocalVolume } from "./support/local-claim.ts";
import { nodeProcesses, podProcesses, signalAll } from "./support/node-processes.ts";
import { type Peers, startPeers } from "./support/peers.ts";

const NAMESPACE = "claim-street";
const FUSE_TYPE = "65735546"; // FUSE_SUPER_MAGIC, see statfs(2)
/** Volumes of the pod, each with its claim; the last is made by Kubernetes for the pod, which gives its name. */
const CLAIMS = { data: "disk-one", wal: "disk-two", scratch: "pair-scratch" } as const;
type VolumeName = keyof typeof CLAIMS;
const VOLUMES = Object.keys(CLAIMS) as VolumeName[];
const persistentVolumeOf = (volume: VolumeName): string => `${NAMESPACE}.${CLAIMS[volume]}`;

describe("a user has volumes of several claims served in one pod", () => {
  let peers: Peers;
  let uid: string;

  before(async () => {
    peers = await startPeers(NAMESPACE, []);
    const { peerImage: image } = await storyCluster();
    for (const volume of VOLUMES)
      await peers.apply(await localVolume({ name: persistentVolumeOf(volume), claim: { namespace: NAMESPACE, name: CLAIMS[volume] } }));
    // Such a pod asks for names as it starts, and enrols only with the CA.
    const isThere = async (): Promise<boolean | string> => {
      const { stdout, stderr } = await peers.kubectl.attempt(["get", "configmap", "squall-ca", "-n", NAMESPACE]);
      return stdout !== "" || stderr;
    };
    await waitUntil("the namespace has the CA", isThere, { timeoutMs: 30_000 });
    const claims = (["data", "wal"] as const).map((volume) => ({
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { name: CLAIMS[volume], namespace: NAMESPACE },
      spec: claimSpec,
    }));
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name: "pair",
        namespace: NAMESPACE,
        labels: { app: "pair", "squall.dev/inject": "enabled" },
        annotations: { "squall.dev/volumes": VOLUMES.join() },
      },
      spec: {
        terminationGracePeriodSeconds: 1,
        containers: [
          {
            name: "store",
            image,
            imagePullPolicy: "IfNotPresent",
            command: ["sleep", "3600"],
            securityContext: { runAsUser: 0 },
            volumeMounts: VOLUMES.map((name) => ({ name, mountPath: `/${name}` })),
          },
        ],
        volumes: [
          { name: "data", persistentVolumeClaim: { claimName: CLAIMS.data } },
          { name: "wal", persistentVolumeClaim: { claimName: CLAIMS.wal } },
          { name: "scratch", ephemeral: { volumeClaimTemplate: { spec: claimSpec } } },
        ],
      },
    };
    await peers.apply(...claims, pod);
    await peers.kubectl(["wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/pair", "--timeout=120s"], { timeoutMs: 130_000 });
    uid = (await peers.jsonpath("pod/pair", "{.metadata.uid}")).trim();
  });
  after(async () => {
    await scaleTo(1, "controller");
    await peers.remove();
    for (const volume of VOLUMES) await removeLocalVolume(persistentVolumeOf(volume));
  });

  const run = async (script: string): Promise<string> => {
    const code = `try { console.log(${script}) } catch (error) { console.log(error.code) }`;
    const exec = ["exec", "-n", NAMESPACE, "pair", "-c", "store", "--", "node", "-e", code];
    return (await peers.kubectl(exec, { timeoutMs: 60_000 })).trim();
  };
  const write = (volume: VolumeName, text: string): Promise<string> => run(`(fs.writeFileSync("/${volume}/file", "${text}"), "written")`);
  const read = (volume: VolumeName): Promise<string> => run(`fs.readFileSync("/${volume}/file", "utf8")`);
  const areServed = async (): Promise<void> => {
    for (const volume of VOLUMES) assert.equal(await run(`fs.statfsSync("/${volume}").type.toString(16)`), FUSE_TYPE, volume);
  };
  const fault = (name: string, volume: VolumeName): Promise<void> =>
    peers.applyAndWait({
      apiVersion: "chaos-mesh.org/v1alpha1",
      kind: "IOChaos",
      metadata: { name, namespace: NAMESPACE },
      spec: {
        action: "fault",
        errno: 28,
        mode: "one",
        selector: { labelSelectors: { app: "pair" } },
        volumePath: `/${volume}`,
        path: `/${volume}/**`,
        methods: ["write"],
        duration: "5m",
      },
    });
  const removeFault = (name: string): Promise<string> =>
    peers.kubectl(["delete", "-n", NAMESPACE, `iochaos/${name}`, "--timeout=40s"], { timeoutMs: 50_000 });

  it("has each of them behind FUSE, on the storage of its own claim", async () => {
    await areServed();
    for (const volume of VOLUMES) {
      assert.equal(await write(volume, `of ${volume}`), "written");
      assert.equal(await readFile(join(folderOf(persistentVolumeOf(volume)), "file"), "utf8"), `of ${volume}`);
    }
  });

  it("faults one and leaves the others alone", async () => {
    await fault("full", "wal");
    assert.equal(await write("wal", "lost"), "ENOSPC");
    for (const volume of ["data", "scratch"] as const) assert.equal(await write(volume, "kept"), "written");
    await removeFault("full");
    assert.equal(await write("wal", "back"), "written");
    assert.equal(await readFile(join(folderOf(persistentVolumeOf("wal")), "file"), "utf8"), "back");
  });

  it("goes on when the sidecar is killed and no controller is there to ask", async () => {
    await scaleTo(0, "controller");
    const sidecar = podProcesses(uid, "/sidecar.mjs");
    assert.ok(sidecar.length > VOLUMES.length, "the sidecar and a server of each volume");
    signalAll(sidecar, "SIGKILL");
    assert.deepEqual(await Promise.all(VOLUMES.map(read)), ["kept", "back", "kept"]);
    await areServed();
    // The kubelet tells it some time later.
    const isRestarted = async (): Promise<boolean | string> => {
      const restarts = (await peers.jsonpath("pod/pair", "{.status.initContainerStatuses[0].restartCount}")).trim();
      return restarts === "1" || `${restarts} restarts`;
    };
    await waitUntil("the sidecar was started again", isRestarted, { timeoutMs: 30_000 });
    assert.equal((await peers.jsonpath("pod/pair", "{.status.containerStatuses[0].restartCount}")).trim(), "0", "of the application");
    await scaleTo(1, "controller");
    await peers.waitForSidecars(["pair"]);
    await fault("again", "data");
    assert.equal(await write("data", "lost"), "ENOSPC");
    assert.equal(await write("wal", "kept"), "written");
    await removeFault("again");
    assert.equal(await write("data", "back"), "written");
  });

  it("lets the pod go, with nothing left mounted", async () => {
    await peers.kubectl(["delete", "pod", "pair", "-n", NAMESPACE, "--timeout=40s"], { timeoutMs: 50_000 });
    const [kubelet] = nodeProcesses("kubelet");
    const left = (): readonly string[] =>
      readFileSync(`/proc/${kubelet}/mountinfo`, "utf8")
        .split("\n")
        .filter((line) => line.includes(`squall-${uid}/`));
    await waitUntil("nothing is mounted", () => left().length === 0 || left().join("\n"), { timeoutMs: 20_000 });
  });
});

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { waitUntil } from "../../lab/wait-until.ts";
import { storyCluster } from "./support/cluster.ts";
import { claimSpec, folderOf, localVolume, removeLocalVolume } from "./support/local-claim.ts";
import { nodeProcesses } from "./support/node-processes.ts";
import { type Peers, startPeers } from "./support/peers.ts";

const NAMESPACE = "volume-street";
/** The folder on the node that the persistent volume stands for. */
const CLAIMED = folderOf(NAMESPACE);
const FUSE_TYPE = "65735546"; // FUSE_SUPER_MAGIC, see statfs(2)

const WRITER = { claim: "/claim", memory: "/memory", plain: "/plain" } as const;
const READER = { inner: "/inner", whole: "/whole" } as const;

describe("a user has volumes of every kind served in one pod", () => {
  let peers: Peers;

  before(async () => {
    peers = await startPeers(NAMESPACE, []);
    const { peerImage: image } = await storyCluster();
    const container = { image, imagePullPolicy: "IfNotPresent", command: ["sleep", "3600"] };
    await peers.apply(
      await localVolume({ name: NAMESPACE, claim: { namespace: NAMESPACE, name: "store" } }),
      {
        apiVersion: "v1",
        kind: "PersistentVolumeClaim",
        metadata: { name: "store", namespace: NAMESPACE },
        spec: claimSpec,
      },
      {
        apiVersion: "v1",
        kind: "Pod",
        metadata: {
          name: "store",
          namespace: NAMESPACE,
          labels: { app: "store", "squall.dev/inject": "enabled" },
          annotations: { "squall.dev/volumes": "claim, memory" },
        },
        spec: {
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              ...container,
              name: "writer",
              securityContext: { runAsUser: 0 },
              volumeMounts: Object.entries(WRITER).map(([name, mountPath]) => ({ name, mountPath })),
            },
            {
              ...container,
              name: "reader",
              securityContext: { runAsUser: 1000, runAsGroup: 1000 },
              volumeMounts: [
                { name: "claim", mountPath: READER.inner, subPath: "deep/inner" },
                { name: "claim", mountPath: READER.whole, readOnly: true },
              ],
            },
          ],
          volumes: [
            { name: "claim", persistentVolumeClaim: { claimName: "store" } },
            { name: "memory", emptyDir: { medium: "Memory", sizeLimit: "16Mi" } },
            { name: "plain", emptyDir: {} },
          ],
        },
      },
    );
    await peers.kubectl(["wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/store", "--timeout=120s"], { timeoutMs: 130_000 });
    await peers.apply({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: "neighbour", namespace: NAMESPACE },
      spec: {
        terminationGracePeriodSeconds: 1,
        containers: [{ ...container, name: "writer", volumeMounts: [{ name: "claim", mountPath: WRITER.claim }] }],
        volumes: [{ name: "claim", persistentVolumeClaim: { claimName: "store" } }],
      },
    });
    await peers.waitFor("pod/neighbour", "Ready");
  });
  after(async () => {
    await peers.remove();
    await removeLocalVolume(NAMESPACE);
  });

  const run = async (container: "writer" | "reader", script: string, pod = "store"): Promise<string> => {
    const code = `try { console.log(${script}) } catch (error) { console.log(error.code) }`;
    return (await peers.kubectl(["exec", "-n", NAMESPACE, pod, "-c", container, "--", "node", "-e", code])).trim();
  };
  const write = (container: "writer" | "reader", path: string, text: string): Promise<string> =>
    run(container, `(fs.writeFileSync("${path}", "${text}"), "written")`);
  const read = (container: "writer" | "reader", path: string): Promise<string> => run(container, `fs.readFileSync("${path}", "utf8")`);

  it("has every mount of those behind FUSE, and no other", async () => {
    const typeOf = (container: "writer" | "reader", path: string): Promise<string> =>
      run(container, `fs.statfsSync("${path}").type.toString(16)`);
    for (const path of [WRITER.claim, WRITER.memory]) assert.equal(await typeOf("writer", path), FUSE_TYPE, path);
    for (const path of Object.values(READER)) assert.equal(await typeOf("reader", path), FUSE_TYPE, path);
    assert.notEqual(await typeOf("writer", WRITER.plain), FUSE_TYPE);
  });

  it("leaves the claim as it is for another pod, and on the node", async () => {
    assert.notEqual(await run("writer", `fs.statfsSync("${WRITER.claim}").type.toString(16)`, "neighbour"), FUSE_TYPE);
    const [kubelet] = nodeProcesses("kubelet");
    const lines = readFileSync(`/proc/${kubelet}/mountinfo`, "utf8").split("\n");
    assert.deepEqual(
      lines.filter((line) => line.split(" ")[4] === CLAIMED),
      [],
    );
  });

  it("shares files between containers, under a subPath and read-only as without", async () => {
    assert.equal(await write("writer", `${WRITER.claim}/file`, "text"), "written");
    assert.equal(await read("reader", `${READER.whole}/file`), "text");
    assert.equal(await write("reader", `${READER.whole}/other`, "text"), "EROFS");
    assert.equal(await write("reader", `${READER.inner}/other`, "text"), "EACCES", "the folder of a subPath is root's");
    assert.equal(await run("writer", `(fs.chownSync("${WRITER.claim}/deep/inner", 1000, 1000), "given")`), "given");
    assert.equal(await write("reader", `${READER.inner}/other`, "more"), "written");
    assert.equal(await read("writer", `${WRITER.claim}/deep/inner/other`), "more");
    assert.equal(await run("writer", `fs.statSync("${WRITER.claim}/deep/inner/other").uid`), "1000");
    assert.equal(await readFile(join(CLAIMED, "file"), "utf8"), "text");
    assert.equal(await readFile(join(CLAIMED, "deep/inner/other"), "utf8"), "more");
  });

  it("is told by a volume in memory that it is full", async () => {
    const tooMuch = `(fs.writeFileSync("${WRITER.memory}/large", Buffer.alloc(20 << 20)), "written")`;
    assert.equal(await run("writer", tooMuch), "ENOSPC");
    assert.equal(await run("writer", `(fs.rmSync("${WRITER.memory}/large"), "gone")`), "gone");
    assert.equal(await write("writer", `${WRITER.memory}/small`, "text"), "written");
  });

  it("faults the folder of a subPath in both containers, and nothing beside it", async () => {
    await peers.applyAndWait({
      apiVersion: "chaos-mesh.org/v1alpha1",
      kind: "IOChaos",
      metadata: { name: "inner", namespace: NAMESPACE },
      spec: {
        action: "fault",
        errno: 28,
        mode: "one",
        selector: { labelSelectors: { app: "store" } },
        containerNames: ["reader"],
        volumePath: READER.inner,
        path: `${READER.inner}/**`,
        methods: ["write"],
        duration: "2m",
      },
    });
    assert.equal(await write("reader", `${READER.inner}/other`, "lost"), "ENOSPC");
    assert.equal(await write("writer", `${WRITER.claim}/deep/inner/other`, "lost"), "ENOSPC");
    assert.equal(await write("writer", `${WRITER.claim}/file`, "kept"), "written");
    assert.equal(await write("writer", `${WRITER.memory}/small`, "kept"), "written");
    await peers.kubectl(["delete", "-n", NAMESPACE, "iochaos/inner", "--timeout=30s"]);
    assert.equal(await write("reader", `${READER.inner}/other`, "back"), "written");
    assert.equal(await readFile(join(CLAIMED, "deep/inner/other"), "utf8"), "back");
  });

  it("keeps what is on the claim for the next pod, and lets this one go at once", async () => {
    const uid = (await peers.jsonpath("pod/store", "{.metadata.uid}")).trim();
    const startMs = performance.now();
    await peers.kubectl(["delete", "pod", "store", "-n", NAMESPACE, "--timeout=40s"], { timeoutMs: 50_000 });
    assert.ok(performance.now() - startMs < 35_000);
    assert.equal(await readFile(join(CLAIMED, "file"), "utf8"), "kept");
    assert.equal(await run("writer", `fs.readFileSync("${WRITER.claim}/file", "utf8")`, "neighbour"), "kept");
    const [kubelet] = nodeProcesses("kubelet");
    const left = (): readonly string[] =>
      readFileSync(`/proc/${kubelet}/mountinfo`, "utf8")
        .split("\n")
        .filter((line) => line.includes(`squall-${uid}/`));
    await waitUntil("nothing is mounted", () => left().length === 0 || left().join("\n"), { timeoutMs: 20_000 });
  });
});

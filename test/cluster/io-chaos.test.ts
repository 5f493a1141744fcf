import assert from "node:assert/strict";
import { waitUntil } from "../../lab/wait-until.ts";
import { type FileStore, FOLDER, fileStoreOf, fileStorePod, isPlain, type Seen } from "./support/file-store.ts";
import { podProcesses, signalAll } from "./support/node-processes.ts";
import { type Peers, startPeers } from "./support/peers.ts";

const NAMESPACE = "file-street";

describe("a user faults the files of a volume", () => {
  let peers: Peers;
  let store: FileStore;

  before(async () => {
    peers = await startPeers(NAMESPACE, []);
    await peers.apply(await fileStorePod(NAMESPACE));
    store = fileStoreOf(peers);
    await store.waitUntilReady();
  });
  after(() => peers.remove());
  afterEach(() => peers.kubectl(["delete", "iochaos", "--all", "-n", NAMESPACE, "--timeout=60s"], { timeoutMs: 70_000 }));

  const pause = (name: string, value: "true" | "false"): Promise<string> =>
    peers.kubectl(["annotate", "-n", NAMESPACE, `iochaos/${name}`, "--overwrite", `experiment.chaos-mesh.org/pause=${value}`]);

  const rows: readonly { readonly rows: string; readonly spec: object; readonly isHit: (seen: Seen) => boolean }[] = [
    { rows: "I1, I2 and I3: latency", spec: { action: "latency", delay: "1s" }, isHit: ({ ms }) => ms >= 1_000 },
    { rows: "I5 to I7: fault", spec: { action: "fault", errno: 5, methods: ["write"] }, isHit: ({ error }) => error === "EIO" },
    {
      rows: "I8 to I10: mistake",
      spec: {
        action: "mistake",
        methods: ["read", "write"],
        mistake: { filling: "zero", maxOccurrences: 1, maxLength: 10_000 },
      },
      isHit: ({ isWrong }) => isWrong,
    },
  ];
  for (const [index, { rows: title, spec, isHit }] of rows.entries()) {
    it(`${title}, on a file that is open: applied, paused, gone on, deleted`, async () => {
      const name = `row-${index}`;
      await store.until("files are as they should be", isPlain);
      await store.apply(name, { ...spec, ...(index === 2 ? { containerNames: ["io"] } : {}) });
      await store.injected(name);
      await store.until("the fault is seen", isHit);
      await pause(name, "true");
      await store.until("the fault is over while it is paused", isPlain);
      await pause(name, "false");
      await store.until("the fault is seen again", isHit);
      const path = "{.status.experiment.containerRecords[0].receipts.matched}";
      await waitUntil("there are receipts", async () => Number(await peers.jsonpath(`iochaos/${name}`, path)) > 0, { timeoutMs: 60_000 });
      await store.remove(name);
      await store.until("files are as before", isPlain);
    });
  }

  it("I4: a wrong volumePath is admitted, with a warning of what there is, and faults nothing", async () => {
    await store.apply("wrong", { action: "latency", delay: "1s", volumePath: `${FOLDER}/123`, path: `${FOLDER}/123/**` });
    const isTold = async (): Promise<boolean | string> => {
      const told = await peers.jsonpath("iochaos/wrong", "{.status.skipped[0].reason}");
      return told === "NoVolume" || `skipped: ${told}`;
    };
    await waitUntil("the pod is skipped", isTold, { timeoutMs: 20_000 });
    assert.ok(isPlain(await store.look()));
  });

  it("what an init container has written is there, and the volume is FUSE", async () => {
    assert.equal((await store.exec(`console.log(fs.readFileSync("${FOLDER}/seed", "utf8"))`)).trim(), "sown");
    assert.equal((await store.exec(`console.log(fs.statfsSync("${FOLDER}").type.toString(16))`)).trim(), "65735546");
  });

  it("goes on when its server is killed, and when the sidecar is", async () => {
    const uid = await store.uid();
    signalAll(podProcesses(uid, "serve-files"), "SIGKILL");
    await store.until("files are as before", isPlain);
    signalAll(podProcesses(uid, "/sidecar.mjs"), "SIGKILL");
    await store.until("files are as before", isPlain);
    assert.equal(await store.restarts(), 0);
    await store.apply("after", { action: "fault", errno: 5, methods: ["write"] });
    await store.until("faults work as before", ({ error }) => error === "EIO");
  });

  it("lets the pod go at once", async () => {
    const startMs = performance.now();
    await peers.kubectl(["delete", "pod", "store", "-n", NAMESPACE, "--timeout=40s"], { timeoutMs: 50_000 });
    assert.ok(performance.now() - startMs < 35_000);
  });
});

import assert from "node:assert/strict";
import { waitUntil } from "../../lab/wait-until.ts";
import { storyCluster } from "./support/cluster.ts";
import { podProcesses, signalAll } from "./support/node-processes.ts";
import { type Peers, startPeers } from "./support/peers.ts";

/** What the program in the container saw last, on a file that it has had open since it started. */
interface Seen {
  readonly ms: number;
  /** Code of the last failure, or "". */
  readonly error: string;
  readonly isWrong: boolean;
}

const NAMESPACE = "file-street";
const FOLDER = "/var/run/data";

/** Writes 4 KiB and reads them back, on one handle, and answers how that went on port 8080. */
const PROGRAM = `const fs = require("node:fs/promises");
  const letters = Buffer.alloc(4096, "A"), read = Buffer.alloc(4096);
  fs.open("${FOLDER}/file", "w+").then((file) => require("node:http").createServer(async (request, response) => {
    const at = performance.now();
    let error = "", isWrong = false;
    try {
      await file.write(letters, 0, 4096, 0);
      await file.read(read, 0, 4096, 0);
      isWrong = !read.equals(letters);
    } catch (reason) { error = reason.code; }
    response.end(JSON.stringify({ ms: performance.now() - at, error, isWrong }));
  }).listen(8080));
  process.once("SIGTERM", () => process.exit(0));`;

describe("a user faults the files of a volume", () => {
  let peers: Peers;

  before(async () => {
    peers = await startPeers(NAMESPACE, []);
    const { peerImage: image } = await storyCluster();
    const container = { image, imagePullPolicy: "IfNotPresent", volumeMounts: [{ name: "data", mountPath: FOLDER }] };
    await peers.apply({
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name: "store",
        namespace: NAMESPACE,
        labels: { app: "store", "squall.dev/inject": "enabled" },
        annotations: { "squall.dev/volumes": "data" },
      },
      spec: {
        terminationGracePeriodSeconds: 2,
        initContainers: [{ ...container, name: "seed", command: ["node", "-e", `fs.writeFileSync("${FOLDER}/seed", "sown")`] }],
        containers: [{ ...container, name: "io", command: ["node", "-e", PROGRAM] }],
        volumes: [{ name: "data", emptyDir: {} }],
      },
    });
    await peers.kubectl(["wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/store", "--timeout=120s"], { timeoutMs: 130_000 });
  });
  after(() => peers.remove());
  afterEach(() => peers.kubectl(["delete", "iochaos", "--all", "-n", NAMESPACE, "--timeout=60s"], { timeoutMs: 70_000 }));

  const exec = (script: string): Promise<string> =>
    peers.kubectl(["exec", "-n", NAMESPACE, "store", "-c", "io", "--", "node", "-e", script]);
  const look = async (): Promise<Seen> =>
    JSON.parse(await exec("fetch('http://127.0.0.1:8080').then((r) => r.text()).then((t) => console.log(t))")) as Seen;
  const until = (what: string, isSo: (seen: Seen) => boolean): Promise<unknown> =>
    waitUntil(
      what,
      async () => {
        const seen = await look();
        return isSo(seen) || JSON.stringify(seen);
      },
      { timeoutMs: 30_000 },
    );
  const apply = (name: string, spec: object): Promise<unknown> =>
    peers.apply({
      apiVersion: "chaos-mesh.org/v1alpha1",
      kind: "IOChaos",
      metadata: { name, namespace: NAMESPACE },
      spec: {
        mode: "one",
        selector: { labelSelectors: { app: "store" } },
        volumePath: FOLDER,
        path: `${FOLDER}/**`,
        percent: 100,
        ...spec,
      },
    });
  const injected = (name: string): Promise<string> =>
    peers.kubectl(["wait", "-n", NAMESPACE, `iochaos/${name}`, "--for=condition=AllInjected", "--timeout=30s"], { timeoutMs: 40_000 });
  const remove = (name: string): Promise<string> => peers.kubectl(["delete", "-n", NAMESPACE, `iochaos/${name}`, "--timeout=30s"]);
  const pause = (name: string, value: "true" | "false"): Promise<string> =>
    peers.kubectl(["annotate", "-n", NAMESPACE, `iochaos/${name}`, "--overwrite", `experiment.chaos-mesh.org/pause=${value}`]);

  const isPlain = ({ ms, error, isWrong }: Seen): boolean => ms < 500 && error === "" && !isWrong;
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
      await until("files are as they should be", isPlain);
      await apply(name, { ...spec, ...(index === 2 ? { containerNames: ["io"] } : {}) });
      await injected(name);
      await until("the fault is seen", isHit);
      await pause(name, "true");
      await until("the fault is over while it is paused", isPlain);
      await pause(name, "false");
      await until("the fault is seen again", isHit);
      const path = "{.status.experiment.containerRecords[0].receipts.matched}";
      await waitUntil("there are receipts", async () => Number(await peers.jsonpath(`iochaos/${name}`, path)) > 0, { timeoutMs: 60_000 });
      await remove(name);
      await until("files are as before", isPlain);
    });
  }

  it("I4: a wrong volumePath is admitted, with a warning of what there is, and faults nothing", async () => {
    await apply("wrong", { action: "latency", delay: "1s", volumePath: `${FOLDER}/123`, path: `${FOLDER}/123/**` });
    const isTold = async (): Promise<boolean | string> => {
      const told = await peers.jsonpath("iochaos/wrong", "{.status.skipped[0].reason}");
      return told === "NoVolume" || `skipped: ${told}`;
    };
    await waitUntil("the pod is skipped", isTold, { timeoutMs: 20_000 });
    assert.ok(isPlain(await look()));
  });

  it("what an init container has written is there, and the volume is FUSE", async () => {
    assert.equal((await exec(`console.log(fs.readFileSync("${FOLDER}/seed", "utf8"))`)).trim(), "sown");
    assert.equal((await exec(`console.log(fs.statfsSync("${FOLDER}").type.toString(16))`)).trim(), "65735546");
  });

  it("goes on when its server is killed, and when the sidecar is", async () => {
    const uid = (await peers.kubectl(["get", "pod", "store", "-n", NAMESPACE, "-o", "jsonpath={.metadata.uid}"])).trim();
    signalAll(podProcesses(uid, "serve-files"), "SIGKILL");
    await until("files are as before", isPlain);
    signalAll(podProcesses(uid, "/sidecar.mjs"), "SIGKILL");
    await until("files are as before", isPlain);
    const restarts = "{.status.containerStatuses[0].restartCount}";
    assert.equal((await peers.kubectl(["get", "pod", "store", "-n", NAMESPACE, "-o", `jsonpath=${restarts}`])).trim(), "0");
    await apply("after", { action: "fault", errno: 5, methods: ["write"] });
    await until("faults work as before", ({ error }) => error === "EIO");
  });

  it("lets the pod go at once", async () => {
    const startMs = performance.now();
    await peers.kubectl(["delete", "pod", "store", "-n", NAMESPACE, "--timeout=40s"], { timeoutMs: 50_000 });
    assert.ok(performance.now() - startMs < 35_000);
  });
});

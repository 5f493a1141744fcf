import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitUntil } from "../../lab/wait-until.ts";
import { openTarget, readIdentity } from "../../daemon/time/target-process.ts";
import { readOwnVdso } from "../../daemon/time/vdso-image.ts";
import { buildClockPrograms, type ClockProgram } from "../support/clock-programs.ts";
import { storyCluster } from "./support/cluster.ts";
import { podProcesses, signalAll } from "./support/node-processes.ts";
import { type Peers, startPeers } from "./support/peers.ts";

const script = readFileSync(new URL("./support/clocks.ts", import.meta.url), "utf8");
const HOUR = 3_600;

/** Seconds that each program is off, one or more readings. */
type Offsets = Readonly<Record<string, readonly number[]>>;

describe("a user shifts the clocks of a container", function () {
  this.timeout(240_000);
  let peers: Peers;
  let folder: string;
  let programs: readonly ClockProgram[];
  let podUid: string;
  const pristine = readOwnVdso();

  before(async () => {
    // The node of the lab sees the files of this machine.
    folder = mkdtempSync(join(tmpdir(), "squall-clocks-"));
    const built = buildClockPrograms(folder);
    programs = built.programs;
    if (built.missing.length > 0) console.log(`    not on this machine: ${built.missing.join(", ")}`);
    peers = await startPeers("clock-street", []);
    const { peerImage: image } = await storyCluster();
    const container = (name: string, run: readonly ClockProgram[], port: number): object => ({
      name,
      image,
      imagePullPolicy: "IfNotPresent",
      // For chroot(2).
      securityContext: { runAsUser: 0, runAsNonRoot: false },
      command: ["node", "/clocks/clocks.ts", "/machine", JSON.stringify(run), String(port)],
      volumeMounts: [
        { name: "clocks", mountPath: "/clocks" },
        { name: "machine", mountPath: "/machine", readOnly: true },
      ],
    });
    await peers.apply(
      { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "clocks", namespace: peers.namespace }, data: { "clocks.ts": script } },
      {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: "clocks", namespace: peers.namespace, labels: { app: "clocks" } },
        spec: {
          terminationGracePeriodSeconds: 0,
          containers: [container("app", programs, 8080), container("neighbour", programs.slice(0, 1), 8081)],
          volumes: [
            { name: "clocks", configMap: { name: "clocks" } },
            { name: "machine", hostPath: { path: "/" } },
          ],
        },
      },
    );
    await peers.waitFor("pod/clocks", "Ready");
    podUid = await peers.jsonpath("pod/clocks", "{.metadata.uid}");
    await sees({ app: 0, neighbour: 0 });
  });
  after(async () => {
    await peers.remove();
    rmSync(folder, { recursive: true, force: true });
  });
  afterEach(() => peers.kubectl(["delete", "timechaos", "--all", "-n", peers.namespace, "--timeout=60s"], { timeoutMs: 70_000 }));

  const ask = async (port: number): Promise<Offsets> =>
    JSON.parse(
      await peers.kubectl(["get", "--raw", `/api/v1/namespaces/${peers.namespace}/pods/clocks:${port}/proxy/?now=${Date.now()}`]),
    ) as Offsets;

  /** Waits until every program of each container is that many seconds off. */
  async function sees(wanted: { readonly app: number; readonly neighbour: number }): Promise<void> {
    const isOff = async (): Promise<boolean | string> => {
      const [app, neighbour] = [await ask(8080), await ask(8081)];
      const areAll = (offsets: Offsets, count: number, seconds: number): boolean =>
        Object.keys(offsets).length === count &&
        Object.values(offsets).every((readings) => readings.length > 0 && readings.every((reading) => Math.abs(reading - seconds) <= 3));
      const isDone = areAll(app, programs.length, wanted.app) && areAll(neighbour, 1, wanted.neighbour);
      return isDone || `${JSON.stringify(app)}, neighbour ${JSON.stringify(neighbour)}`;
    };
    await waitUntil(`the clocks are ${wanted.app} s and ${wanted.neighbour} s off`, isOff, { timeoutMs: 30_000 });
  }

  /** Processes of the pod whose vDSO is not as the kernel made it. */
  const patched = (): readonly number[] =>
    podProcesses(podUid, "").filter((pid) => {
      const identity = readIdentity(pid);
      const opened = identity === undefined ? undefined : openTarget(identity);
      if (opened?.is !== "open") return false;
      try {
        return !opened.memory.read(0, pristine.length).equals(pristine);
      } finally {
        opened.memory.close();
      }
    });
  const isPristine = (): Promise<boolean | string> =>
    Promise.resolve(patched().length === 0 || `processes ${patched().join(", ")} are patched still`);

  const shift = (name: string, timeOffset: string, spec: object = {}): object => ({
    apiVersion: "chaos-mesh.org/v1alpha1",
    kind: "TimeChaos",
    metadata: { name, namespace: peers.namespace },
    spec: { mode: "all", selector: { labelSelectors: { app: "clocks" } }, containerNames: ["app"], timeOffset, ...spec },
  });
  const remove = (name: string): Promise<string> =>
    peers.kubectl(["delete", "timechaos", name, "-n", peers.namespace, "--timeout=30s"], { timeoutMs: 40_000 });

  // Rows T1 to T3 of Chaos Mesh's own tests.
  it("sees them off in every language, in children too, nowhere else, and exactly right again", async () => {
    await peers.applyAndWait(shift("behind", "-1h"));
    await sees({ app: -HOUR, neighbour: 0 });
    const processes = Number(await peers.jsonpath("timechaos/behind", "{.status.experiment.containerRecords[0].receipts.processes}"));
    assert.ok(processes > programs.length, `${processes} processes`);

    // A program that is started now is off within a second.
    const late = "setTimeout(() => console.log(Date.now()), 2500)";
    const shown = Number(await peers.kubectl(["exec", "-n", peers.namespace, "clocks", "-c", "app", "--", "node", "-e", late]));
    assert.ok(Math.abs(shown - Date.now() + HOUR * 1000) < 5_000, `${shown}`);

    // Another experiment on the same container adds up.
    await peers.applyAndWait(shift("ahead", "2h"));
    await sees({ app: HOUR, neighbour: 0 });
    await remove("behind");
    await sees({ app: 2 * HOUR, neighbour: 0 });
    await remove("ahead");
    await sees({ app: 0, neighbour: 0 });
    await waitUntil("the code of every process is as it was", isPristine, { timeoutMs: 30_000 });
  });

  it("sees them right while the experiment is paused", async () => {
    await peers.applyAndWait(shift("paused", "1h"));
    await sees({ app: HOUR, neighbour: 0 });
    const pause = (value: string): Promise<string> =>
      peers.kubectl(["annotate", "--overwrite", "timechaos/paused", "-n", peers.namespace, `experiment.chaos-mesh.org/pause=${value}`]);
    await pause("true");
    await sees({ app: 0, neighbour: 0 });
    await pause("false");
    await sees({ app: HOUR, neighbour: 0 });
  });

  it("has them put right by the next life of a daemon that was killed, and off again for as long as the experiment lasts", async () => {
    await peers.applyAndWait(shift("orphan", "-1h"));
    await sees({ app: -HOUR, neighbour: 0 });
    const daemon = await peers.kubectl([
      "get",
      "pods",
      "-n",
      "squall-system",
      "-l",
      "app=squall-daemon",
      "-o",
      "jsonpath={.items[0].metadata.uid}",
    ]);
    const [pid] = podProcesses(daemon, "daemon.mjs");
    signalAll(podProcesses(daemon, "daemon.mjs"), "SIGKILL");
    const isBack = (): Promise<boolean | string> => {
      const [next] = podProcesses(daemon, "daemon.mjs");
      return Promise.resolve((next !== undefined && next !== pid) || `daemon ${next ?? "gone"}`);
    };
    await waitUntil("the kubelet starts the daemon again", isBack, { timeoutMs: 60_000 });
    await sees({ app: -HOUR, neighbour: 0 });
    await remove("orphan");
    await sees({ app: 0, neighbour: 0 });
    await waitUntil("the code of every process is as it was", isPristine, { timeoutMs: 30_000 });
  });
});

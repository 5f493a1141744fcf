import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { waitUntil } from "../../lab/wait-until.ts";
import { podProcesses, signalAll } from "./support/node-processes.ts";
import { type Peers, startPeers } from "./support/peers.ts";
import { networkChaos, target } from "./support/pods.ts";

const run = promisify(execFile);
const sidecar = fileURLToPath(new URL("../../sidecar/main.ts", import.meta.url));

describe("a user faults a pod that nobody can restart", () => {
  let peers: Peers;
  before(async () => {
    peers = await startPeers("late-lane", ["old", "new"], { hasSidecar: (name) => name === "new" });
  });
  after(() => peers.remove());
  afterEach(() => peers.deleteExperiments());

  const uidOf = (pod: string): Promise<string> => peers.jsonpath(`pod/${pod}`, "{.metadata.uid}");

  /** The kernel state of a pod without a sidecar, read from outside. */
  async function dump(pod: string): Promise<string> {
    const [pid = assert.fail(`${pod} does not run`)] = podProcesses(await uidOf(pod), "/peer/peer.ts");
    return (await run("nsenter", [`--net=/proc/${pid}/ns/net`, process.execPath, sidecar, "dump"])).stdout;
  }

  async function daemonProcesses(): Promise<readonly number[]> {
    const path = "jsonpath={.items[*].metadata.uid}";
    const uids = await peers.kubectl(["get", "pods", "-n", "squall-system", "-l", "app=squall-daemon", "-o", path]);
    return uids.split(" ").flatMap((uid) => podProcesses(uid, "/daemon.mjs"));
  }

  const medianMs = async (from: string, to: string): Promise<number> => {
    const { roundTrips } = await peers.udp(from, peers.ip(to), 9, 20);
    return roundTrips.toSorted((a, b) => a - b)[roundTrips.length >> 1] ?? assert.fail("no answer came");
  };
  const slow = (name: string, annotations = {}): object =>
    networkChaos({
      name,
      namespace: peers.namespace,
      annotations,
      from: "old",
      spec: { action: "delay", delay: { latency: "200ms" }, target: target("new") },
    });

  it("is told of late join, allows it, and the waiting experiment begins", async () => {
    const before = await dump("old");
    await peers.apply(slow("waits"));
    await peers.waitFor("networkchaos/waits", "Selected=false");
    const { skipped = [] } = (await peers.experiment("waits")).status;
    assert.deepEqual(
      skipped.map(({ id, reason }) => [id, reason]),
      [["late-lane/old", "NotInjected"]],
    );
    assert.match(skipped[0]?.message ?? "", /kubectl label namespace late-lane squall\.dev\/late-join=enabled/);
    await peers.kubectl(["label", "namespace", peers.namespace, "squall.dev/late-join=enabled"]);
    await peers.waitFor("networkchaos/waits", "AllInjected");
    assert.ok((await medianMs("old", "new")) >= 200);
    await peers.kubectl(["annotate", "networkchaos", "waits", "-n", peers.namespace, "experiment.chaos-mesh.org/pause=true"]);
    await peers.waitFor("networkchaos/waits", "AllRecovered");
    const [record] = (await peers.experiment("waits")).status.experiment.containerRecords;
    assert.ok((record?.receipts?.delayed ?? 0) >= 9, JSON.stringify(record));
    await peers.deleteExperiments();
    assert.ok((await medianMs("old", "new")) < 100);
    assert.equal(await dump("old"), before);
    assert.equal((await daemonProcesses()).length, 1);
  });

  it("cuts it off from both ends, one by the sidecar and one by the daemon, and its probes still get through", async () => {
    const before = await dump("old");
    await peers.applyAndWait(
      networkChaos({
        name: "cut",
        namespace: peers.namespace,
        from: "new",
        spec: { action: "partition", direction: "both", target: target("old") },
      }),
    );
    assert.ok((await peers.udp("new", peers.ip("old"), 5, 20)).errors > 0);
    assert.ok((await peers.udp("old", peers.ip("new"), 5, 20)).errors > 0);
    await peers.pause(4_000); // some probe periods
    assert.equal(await peers.jsonpath("pod/old", "{.status.containerStatuses[0].ready}"), "true");
    await peers.deleteExperiments();
    assert.equal((await peers.udp("old", peers.ip("new"), 5, 20)).errors, 0);
    assert.equal(await dump("old"), before);
  });

  it("sees the fault come back after the daemon and its processes were killed, and nothing left in the end", async () => {
    const before = await dump("old");
    await peers.applyAndWait(slow("lives", { "squall.dev/lease": "10s" }));
    const killed = await daemonProcesses();
    assert.equal(killed.length, 2);
    signalAll(killed, "SIGKILL");
    const isBack = async (): Promise<boolean | string> => {
      const now = await daemonProcesses();
      return (now.length === 2 && !now.some((pid) => killed.includes(pid)) && (await medianMs("old", "new")) >= 200) || now.join();
    };
    await waitUntil("the fault is in force again", isBack, { timeoutMs: 90_000 });
    await peers.deleteExperiments();
    assert.equal(await dump("old"), before);
    assert.ok((await medianMs("old", "new")) < 100);
  });
});

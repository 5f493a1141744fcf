import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { waitUntil } from "../../lab/wait-until.ts";
import { storyCluster } from "./support/cluster.ts";
import { nodeProcesses, podProcesses, signalAll } from "./support/node-processes.ts";
import { type Peers, startPeers } from "./support/peers.ts";

const NAMESPACE = "ledger-street";
const PROGRAM_NAME = "ledger-program";

/** What the program says of itself on port 8080. */
interface Told {
  /** The last number that is in the file for certain. */
  readonly last: number;
  /** Codes of what went wrong since it started. */
  readonly errors: readonly string[];
}

/** Adds one number after the other to a file, by one descriptor; each is on the disk before it counts. */
const PROGRAM = `/* ${PROGRAM_NAME} */
  const fs = require("node:fs"), errors = [];
  const file = fs.openSync("/data/ledger", "a+");
  let last = Number(fs.readFileSync("/data/ledger", "utf8").trimEnd().split("\\n").at(-1));
  const go = () => fs.write(file, (last + 1) + "\\n", (error) => error ? fail(error) : fs.fsync(file, (error) => {
    if (error) return fail(error);
    last += 1;
    setTimeout(go, 2);
  }));
  const fail = ({ code }) => errors.push(code);
  go();
  require("node:http").createServer((request, response) => response.end(JSON.stringify({ last, errors }))).listen(8080);
  process.once("SIGTERM", () => process.exit(0));`;

describe("a user's ledger on a served volume, whatever is killed", function () {
  this.timeout(240_000);
  let peers: Peers;
  let podUid: string;
  let daemonPod: { readonly uid: string; readonly name: string };

  before(async () => {
    peers = await startPeers(NAMESPACE, []);
    const { peerImage: image, kubectl } = await storyCluster();
    await peers.apply({
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name: "ledger",
        namespace: NAMESPACE,
        labels: { app: "ledger", "squall.dev/inject": "enabled" },
        annotations: { "squall.dev/volumes": "data" },
      },
      spec: {
        terminationGracePeriodSeconds: 2,
        containers: [
          {
            name: "ledger",
            image,
            imagePullPolicy: "IfNotPresent",
            command: ["node", "-e", PROGRAM],
            securityContext: { runAsUser: 0 },
            volumeMounts: [{ name: "data", mountPath: "/data" }],
          },
        ],
        volumes: [{ name: "data", emptyDir: {} }],
      },
    });
    await peers.waitFor("pod/ledger", "Ready");
    podUid = (await peers.jsonpath("pod/ledger", "{.metadata.uid}")).trim();
    const path = "jsonpath={.items[0].metadata}";
    daemonPod = JSON.parse(await kubectl(["get", "pods", "-n", "squall-system", "-l", "app=squall-daemon", "-o", path]));
  });
  after(() => peers.remove());

  async function look(): Promise<Told> {
    const script = "fetch('http://127.0.0.1:8080').then((r) => r.text()).then((t) => console.log(t))";
    return JSON.parse(await peers.kubectl(["exec", "-n", NAMESPACE, "ledger", "-c", "ledger", "--", "node", "-e", script])) as Told;
  }

  /** Two looks, as the first may be at a number from before. */
  async function goesOn(what: string): Promise<void> {
    const first = { last: Number.POSITIVE_INFINITY };
    const isMore = async (): Promise<boolean | string> => {
      const told = await look().catch((error: unknown) => String(error));
      if (typeof told === "string") return told;
      if (told.errors.length > 0) assert.fail(`after ${what}: ${told.errors.join()}`);
      if (told.last > first.last) return true;
      first.last = Math.min(first.last, told.last);
      return JSON.stringify(told);
    };
    await waitUntil(`the ledger goes on after ${what}`, isMore, { timeoutMs: 60_000 });
  }

  /** Only then it has copies of the descriptors: where sidecar and daemon end at once, the application's calls fail until its container starts anew. */
  const daemonHasIt = (): Promise<unknown> =>
    waitUntil(
      "the daemon has the volume in care",
      async () => {
        const path = `/api/v1/namespaces/squall-system/pods/${daemonPod.name}:9090/proxy/metrics`;
        const { stdout, stderr } = await peers.kubectl.attempt(["get", "--raw", path]);
        return stdout.includes('squall_daemon_volumes{state="serving"} 1') || stderr;
      },
      { timeoutMs: 60_000 },
    );

  const server = (): readonly number[] => podProcesses(podUid, "serve-files");
  const sidecar = (): readonly number[] => podProcesses(podUid, "/sidecar.mjs");
  const daemon = (): readonly number[] => podProcesses(daemonPod.uid, "daemon.mjs");
  const program = (): readonly number[] => podProcesses(podUid, PROGRAM_NAME);
  const kubelet = (): readonly number[] => nodeProcesses("kubelet");
  const runtime = (): readonly number[] => nodeProcesses("containerd");
  const steps: readonly (readonly [what: string, whom: () => readonly number[]])[] = [
    ["its server", server],
    ["the daemon", daemon],
    ["the kubelet", kubelet],
    ["server, kubelet and daemon", () => [...server(), ...kubelet(), ...daemon()]],
    ["the sidecar", sidecar],
    ["the container runtime", runtime],
    ["the program itself", program],
    ["its server, again", server],
  ];

  it("goes on without an error, with a delay in force, and has every number that counted", async () => {
    await peers.applyAndWait({
      apiVersion: "chaos-mesh.org/v1alpha1",
      kind: "IOChaos",
      metadata: { name: "slow", namespace: NAMESPACE },
      spec: {
        action: "latency",
        delay: "3ms",
        mode: "one",
        selector: { labelSelectors: { app: "ledger" } },
        volumePath: "/data",
        path: "/data/**",
        percent: 50,
        duration: "10m",
      },
    });
    await goesOn("the fault");
    for (const [what, whom] of steps) {
      const pids = whom();
      assert.ok(pids.length > 0, `${what} does not run`);
      signalAll(pids, "SIGKILL");
      await goesOn(`the end of ${what}`);
      await daemonHasIt();
    }
    assert.equal((await peers.jsonpath("pod/ledger", "{.status.containerStatuses[0].restartCount}")).trim(), "1", "of the program itself");
    await peers.kubectl(["delete", "iochaos", "slow", "-n", NAMESPACE, "--timeout=40s"], { timeoutMs: 50_000 });
    const { last } = await look();
    const path = `/proc/${program()[0]}/root/data/ledger`;
    const numbers = readFileSync(path, "utf8").trimEnd().split("\n").map(Number);
    process.stdout.write(`      ${last} numbers, one by one\n`);
    assert.ok(numbers.length >= last);
    // What was killed between its write and its count wrote that number once more.
    const counted = [...new Set(numbers)];
    assert.deepEqual(
      counted,
      counted.map((_, index) => index + 1),
    );
  });

  it("ends at once when it is deleted, with the server stopped, and leaves nobody waiting", async () => {
    signalAll(server(), "SIGSTOP");
    const startMs = performance.now();
    await peers.kubectl(["delete", "pod", "ledger", "-n", NAMESPACE, "--timeout=60s"], { timeoutMs: 70_000 });
    assert.ok(performance.now() - startMs < 45_000);
    assert.deepEqual(podProcesses(podUid, ""), []);
  });
});

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Fault, type FaultReport, FaultState } from "../../proto/gen/agent.ts";
import { Direction, type NetworkRule } from "../../proto/gen/faults.ts";
import { networkFault, networks, rule, shape } from "../support/network-faults.ts";
import type { DaemonOrder } from "./support/daemon-process.ts";
import type { TrafficAnswer, TrafficOrder } from "./support/traffic.ts";
import { type Child, createTwoHosts, LEFT, RIGHT, startProcess, type TwoHosts } from "./support/two-hosts.ts";

const main = fileURLToPath(new URL("../../daemon/main.ts", import.meta.url));
const sidecar = fileURLToPath(new URL("../../sidecar/main.ts", import.meta.url));
const POD = "4d5f6a7b-0000-4000-8000-00000000000a";
const drop: NetworkRule["effect"] = { $case: "partition", value: {} };
const slow = (ms: number): NetworkRule["effect"] => shape({ latencyUs: ms * 1_000 });

/** On what the pod sends to the right side. */
const fault = (id: string, effect: NetworkRule["effect"], { leaseMs = 60_000, podUid = POD, hostName = "" } = {}): Fault => ({
  ...networkFault(id, [rule({ direction: Direction.EGRESS, effect, peers: hostName === "" ? networks(`${RIGHT}/32`) : named(hostName) })], {
    leaseMs,
  }),
  target: { podUid, namespace: "shop", pod: "old", container: "", network: { addresses: [LEFT], probePorts: [] } },
});
const named = (name: string) => ({ networks: [], endpoints: [], hostNames: [{ name, port: 0 }] });

describe("a daemon that joins pods late, on the real kernel", () => {
  let hosts: TwoHosts;
  let sandbox: Child<TrafficOrder, TrafficAnswer>;
  let daemon: Child<DaemonOrder, unknown>;
  let before: string;

  beforeEach(async () => {
    hosts = await createTwoHosts();
    // stands for the pod's sandbox: any process of the network namespace
    sandbox = hosts.left.start(new URL("support/traffic-process.ts", import.meta.url));
    await sandbox.ask({ do: "take-arrivals" });
    before = await dump();
    daemon = await startDaemon();
  });
  afterEach(async () => {
    await daemon.end();
    await hosts.close();
  });

  async function startDaemon(sandboxPids: Readonly<Record<string, number>> = { [POD]: sandbox.process.pid ?? 0 }) {
    const started: Child<DaemonOrder, unknown> = startProcess(new URL("support/daemon-process.ts", import.meta.url));
    assert.equal(await started.ask({ do: "start", main, stateFolder: hosts.state, sandboxPids }), undefined);
    return started;
  }

  const apply = async (...faults: readonly Fault[]): Promise<readonly FaultReport[]> =>
    (await daemon.ask({ do: "apply", faults })) as readonly FaultReport[];
  const report = async (): Promise<readonly FaultReport[]> => (await daemon.ask({ do: "report" })) as readonly FaultReport[];
  const dump = (): Promise<string> => hosts.left.run(process.execPath, sidecar, "dump");
  const journals = (): Promise<readonly string[]> => readdir(`${hosts.state}/network`).catch(() => []);

  /** Processes of the daemon in pods. */
  async function inside(): Promise<readonly number[]> {
    const statuses = await Promise.all(
      (await readdir("/proc"))
        .filter((name) => /^\d+$/.test(name))
        .map(async (pid) => [Number(pid), await readFile(`/proc/${pid}/status`, "utf8").catch(() => "")] as const), // it has ended
    );
    return statuses.filter(([, status]) => status.includes(`\nPPid:\t${daemon.process.pid}\n`)).map(([pid]) => pid);
  }

  async function theOneInside(): Promise<number> {
    const [pid, ...others] = await inside();
    assert.equal(others.length, 0);
    return pid ?? assert.fail("there is no process in the pod");
  }

  /** Median way of some datagrams to the right side, or why none came. */
  async function reach(): Promise<number | "error at the sender" | "lost"> {
    const { port = 0 } = await hosts.right.traffic({ do: "listen-udp" });
    const wanted = { do: "send-udp", to: RIGHT, port, count: 5, bytes: 100, gapMs: 20, burst: 1, sockets: 1 } as const;
    const { errors = [] } = await hosts.left.traffic(wanted);
    if (errors.length > 0) return "error at the sender";
    await sleep(500);
    const { arrivals = [] } = await hosts.right.traffic({ do: "take-arrivals" });
    return arrivals.map(({ delayMs }) => delayMs).toSorted((a, b) => a - b)[arrivals.length >> 1] ?? "lost";
  }

  async function until(what: string, isSo: () => Promise<boolean>, withinMs = 10_000): Promise<void> {
    const begun = performance.now();
    while (!(await isSo())) {
      assert.ok(performance.now() < begun + withinMs, what);
      await sleep(50);
    }
  }

  it("slows a pod, counts its packets, and leaves neither a rule nor a process behind", async () => {
    const begun = performance.now();
    const [applied] = await apply(fault("a", slow(80)));
    console.log(`      joined and applied in ${(performance.now() - begun).toFixed(0)} ms`);
    assert.deepEqual([applied?.state, applied?.message], [FaultState.ACTIVE, ""]);
    const slowed = Number(await reach());
    assert.ok(slowed > 79 && slowed < 400, String(slowed));
    await until("receipts come", async () => ((await report())[0]?.receipt?.delayed ?? 0) >= 5);
    await theOneInside();
    // one more joins, the last packets of the one that goes are counted
    await apply(fault("a", slow(80)), fault("b", slow(40)));
    const both = Number(await reach());
    assert.ok(both > 119 && both < 400, String(both));
    const ended = await apply();
    assert.deepEqual(
      ended.map(({ receipt }) => (receipt?.delayed ?? 0) > 0),
      [true, true],
    );
    assert.deepEqual([await inside(), await journals(), await dump()], [[], [], before]);
    assert.ok(Number(await reach()) < 20);
  });

  it("cuts a pod off, and takes it back when the daemon is killed", async () => {
    await apply(fault("a", drop));
    assert.equal(await reach(), "error at the sender");
    daemon.process.kill("SIGKILL");
    await until("everything is taken back", async () => (await dump()) === before);
    assert.ok(Number(await reach()) < 20);
    assert.deepEqual(await journals(), []);
  });

  it("ends by the kernel's clock with no process alive, and the next life sweeps", async () => {
    await apply(fault("a", drop, { leaseMs: 3_000 }));
    const child = await theOneInside();
    process.kill(child, "SIGSTOP"); // or it would take back before it can be killed
    daemon.process.kill("SIGKILL");
    process.kill(child, "SIGKILL");
    assert.equal(await reach(), "error at the sender");
    await sleep(3_500);
    assert.ok(Number(await reach()) < 20);
    assert.notEqual(await dump(), before);
    assert.deepEqual(await journals(), [POD]);
    daemon = await startDaemon();
    assert.deepEqual([await dump(), await journals(), await inside()], [before, [], []]);
  });

  it("applies faults again when its process in the pod dies", async () => {
    await apply(fault("a", drop));
    const child = await theOneInside();
    process.kill(child, "SIGKILL");
    await until("another one is there", async () => (await inside()).some((pid) => pid !== child));
    await until("the fault is in force", async () => (await reach()) === "error at the sender");
    await apply();
    assert.deepEqual([await dump(), await journals()], [before, []]);
  });

  it("forgets a pod that is gone by the next life", async () => {
    await apply(fault("a", drop));
    const child = await theOneInside();
    process.kill(child, "SIGSTOP");
    daemon.process.kill("SIGKILL");
    process.kill(child, "SIGKILL");
    daemon = await startDaemon({});
    assert.deepEqual(await journals(), []);
    const [refused] = await apply(fault("a", drop));
    assert.deepEqual([refused?.state, refused?.reason], [FaultState.FAILED, "NotRunning"]);
  });

  it("never enters the network of the node", async () => {
    const shared = "4d5f6a7b-0000-4000-8000-00000000000b";
    await daemon.end();
    daemon = await startDaemon({ [shared]: process.pid });
    const [refused] = await apply(fault("a", drop, { podUid: shared }));
    assert.deepEqual([refused?.state, refused?.reason], [FaultState.REFUSED, "HostNetwork"]);
    await assert.rejects(daemon.ask({ do: "sweep", podUid: shared, isDue: true }), /network/);
    assert.deepEqual(await inside(), []);
  });

  it("sweeps what a sidecar left that does not come back, and nothing where it came back in the last moment", async () => {
    const lost = await hosts.startAgent();
    await lost.apply([networkFault("x", [rule({ effect: drop, peers: networks(`${RIGHT}/32`) })])]);
    lost.process.kill("SIGKILL");
    const left = await dump();
    assert.equal(await daemon.ask({ do: "sweep", podUid: POD, isDue: false }), false);
    assert.equal(await dump(), left);
    assert.equal(await daemon.ask({ do: "sweep", podUid: POD, isDue: true }), true);
    assert.equal(await dump(), before);
    assert.ok(Number(await reach()) < 20);
  });

  it("has no right in the pod but to change its network", async () => {
    await apply(fault("a", slow(80)));
    const child = await theOneInside();
    const status = await readFile(`/proc/${child}/status`, "utf8");
    assert.match(status, /^CapEff:\t0000000000003000$/m);
    assert.match(status, /^NoNewPrivs:\t1$/m);
    assert.match(status, /^Gid:\t65010\t/m);
    const smaps = await readFile(`/proc/${child}/smaps_rollup`, "utf8");
    const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(smaps)?.[1]);
    console.log(`      resident ${kib("Rss")} KiB, of which its own ${kib("Private_Clean") + kib("Private_Dirty")} KiB`);
  });
});

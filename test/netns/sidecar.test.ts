import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeBundles } from "../../lab/bundles.ts";
import { sidecarPaths, sidecarVariables } from "../../common/sidecar-layout.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import { type Fault, FaultState } from "../../proto/gen/agent.ts";
import { networkFault, rule, shape } from "../support/network-faults.ts";
import type { Ended } from "./support/pod-process.ts";
import { createSidecarPod, type SidecarPod } from "./support/sidecar-pod.ts";

const MB = 1e6;
const patience = { timeoutMs: 15_000, everyMs: 10 };
/** Kills the servers of this pod, and of no other one on the machine. */
const KILL_SERVERS = `
killed=0
for pid in $(pgrep -f 'serve-[f]iles'); do
  if [ "$(readlink /proc/$pid/ns/mnt)" = "$(readlink /proc/self/ns/mnt)" ]; then kill -KILL $pid && killed=$((killed + 1)); fi
done
echo $killed killed`;
const cut = networkFault("a", [rule({})]);
const slow = networkFault("b", [rule({ effect: shape({ latencyUs: 50_000 }) })]);

const oneVolume = { [sidecarVariables.volumes]: '[{"name":"data","source":"emptyDir"}]' };
const handOver = [process.execPath, join(import.meta.dirname, "support/volume-hander.ts"), sidecarPaths.filesSocket, "data"];

describe("the sidecar's bundle in a pod of its own", () => {
  let bundles: string;
  let pod: SidecarPod;
  before(async () => {
    bundles = await mkdtemp(join(tmpdir(), "squall-bundles-"));
    await writeBundles(bundles);
  });
  after(() => rm(bundles, { recursive: true }));
  afterEach(() => pod.close());

  it("enrols, takes little memory until it is called, does what it is told, and leaves nothing when it ends", async () => {
    pod = await createSidecarPod({ bundles });
    const sidecar = await pod.startSidecar();
    const idle = await pod.read(sidecar);
    const before = await pod.run("iptables-nft-save");
    const { report } = await pod.apply([cut, slow]);
    assert.deepEqual(
      report.faults.map(({ id, state }) => [id, state]),
      [
        ["a", FaultState.ACTIVE],
        ["b", FaultState.ACTIVE],
      ],
    );
    assert.match(await pod.run("iptables-nft-save"), /squall-out/);
    const called = await pod.read(sidecar);
    assert.ok(idle.privateBytes < called.privateBytes / 1.5, `${idle.privateBytes / MB} MB idle, ${called.privateBytes / MB} MB called`);
    assert.equal(await pod.stop(sidecar), 0);
    assert.equal(withoutComments(await pod.run("iptables-nft-save")), withoutComments(before));
  });

  it("has the faults in place that its pod was born into, with nobody calling", async () => {
    pod = await createSidecarPod({ bundles, faults: [cut] });
    await pod.startSidecar();
    for (let turn = 0; turn < 200 && !(await pod.run("iptables-nft-save")).includes("squall-out"); turn++);
    assert.match(await pod.run("iptables-nft-save"), /-j squall-out/);
  });

  it("holds the application back until its volume is served, faults its files beside its network, and gives them back", async () => {
    const eio: Fault = {
      ...cut,
      id: "c",
      family: {
        $case: "io",
        value: {
          volume: "data",
          mountPath: "/data",
          subPath: "",
          path: "/data/*.log",
          methods: ["read"],
          percent: 100,
          effect: { $case: "error", value: { errno: 5 } },
        },
      },
    };
    pod = await createSidecarPod({ bundles, faults: [eio] });
    const sidecar = await pod.startSidecar(oneVolume);
    const isReady = async (): Promise<boolean> => (await pod.attempt("test", "-e", sidecarPaths.ready)).code === 0;
    const explain = async (): Promise<string> => (await pod.attempt("cat", sidecarPaths.explained)).output;
    await waitUntil("it says what it waits for", async () => (await explain()).includes("VolumeNotMounted"), patience);
    assert.equal(await isReady(), false);
    await pod.start(handOver);
    await waitUntil("the application may start", isReady, patience);
    // With the fault that the pod was born into in force.
    assert.match(await explain(), /"volumes":\[\{"name":"data","state":"serving"/);
    const shell = async (script: string): Promise<Ended> => pod.attempt("sh", "-c", script);
    assert.equal(
      (await shell("echo 1 >/var/data/a.log && echo 2 >/var/data/b.txt && cat /var/data/b.txt /var/plain/a.log")).output,
      "2\n1\n",
    );
    assert.match((await shell("cat /var/data/a.log")).output, /Input\/output error/);

    const { report } = await pod.apply([cut, eio]);
    assert.deepEqual(report.passport?.volumes, ["data"]);
    assert.deepEqual(report.passport?.familiesOfFaults, ["network", "io"]);
    assert.deepEqual(
      report.faults.map(({ id, state }) => [id, state]),
      [
        ["a", FaultState.ACTIVE],
        ["c", FaultState.ACTIVE],
      ],
    );
    // A server that is killed is replaced, and its successor knows the faults.
    assert.equal((await shell(KILL_SERVERS)).output, "1 killed\n");
    assert.match((await shell("cat /var/data/a.log")).output, /Input\/output error/);

    const stranger = { ...eio, id: "d", family: { ...eio.family, value: { ...eio.family?.value, volume: "other" } } } as Fault;
    const refused = (await pod.apply([stranger])).report.faults;
    const [gone] = refused.filter(({ id }) => id === "c");
    assert.ok((gone?.receipt?.failed ?? 0) >= 1, JSON.stringify(gone));
    assert.deepEqual(
      refused.filter(({ id }) => id === "d").map(({ state, reason }) => [state, reason]),
      [[FaultState.REFUSED, "VolumeNotServed"]],
    );
    assert.equal((await shell("cat /var/data/a.log")).output, "1\n");
    assert.equal(await pod.stop(sidecar), 0);
  });

  it("learns whose several claims are before it listens for the daemon, once in the life of the pod", async () => {
    const volumes = ["data", "wal", "log"].map((name) => ({ name, source: "claim", isOneOfSeveral: true }));
    const several = { [sidecarVariables.volumes]: JSON.stringify(volumes) };
    const withoutController = { ...several, [sidecarVariables.enrolmentAddress]: "127.0.0.1:1" };
    pod = await createSidecarPod({ bundles, persistentVolumes: { data: "pvc-1", wal: "pvc-2", other: "pvc-3" } });
    const explain = async (): Promise<string> => (await pod.attempt("cat", sidecarPaths.explained)).output;
    /** What it says to a daemon. */
    const hello = async (): Promise<unknown> => {
      let said: Ended = { code: 1, output: "" };
      const script = `require("node:net").connect("${sidecarPaths.filesSocket}").once("data", (line) => process.stdout.write(line, () => process.exit(0)))`;
      const isSaid = async (): Promise<boolean | string> => {
        said = await pod.attempt(process.execPath, "-e", script);
        return said.code === 0 || said.output;
      };
      await waitUntil("it listens for the daemon", isSaid, patience);
      return JSON.parse(said.output).hello.volumes;
    };
    const named = [
      { name: "data", source: "claim", persistentVolume: "pvc-1" },
      { name: "wal", source: "claim", persistentVolume: "pvc-2" },
    ];

    const early = await pod.startSidecar(withoutController, { upWhen: "it writes" });
    await waitUntil("it says that it waits", async () => (await explain()).includes('"waiting"'), patience);
    assert.notEqual((await pod.attempt("test", "-e", sidecarPaths.filesSocket)).code, 0);
    assert.notEqual((await pod.attempt("test", "-e", sidecarPaths.volumesSettled)).code, 0);
    await pod.stop(early);

    const first = await pod.startSidecar(several);
    assert.deepEqual(await hello(), named);
    assert.match(await explain(), /"name":"log","state":"refused","reason":"PersistentVolumeUnknown"/);
    await pod.stop(first);

    const next = await pod.startSidecar(withoutController, { upWhen: "it writes" });
    assert.deepEqual(await hello(), named);
    await pod.stop(next);
  });

  it("serves files where the network cannot be faulted, and faults it as soon as it can", async () => {
    pod = await createSidecarPod({ bundles });
    const tools = ["nft", "legacy"].map((backend) => `/usr/sbin/xtables-${backend}-multi`);
    for (const tool of tools) assert.deepEqual(await pod.attempt("mount", "--bind", "/bin/false", tool), { code: 0, output: "" });
    const sidecar = await pod.startSidecar(oneVolume, { upWhen: "it writes" });
    await pod.start(handOver);
    const { output } = await pod.attempt("sh", "-c", "echo 1 >/var/data/a && cat /var/plain/a");
    assert.equal(output, "1\n");
    assert.notEqual((await pod.attempt("test", "-e", sidecarPaths.explained)).code, 0);
    for (const tool of tools) assert.deepEqual(await pod.attempt("umount", tool), { code: 0, output: "" });
    await waitUntil("it tried again", async () => (await pod.attempt("test", "-e", sidecarPaths.ready)).code === 0, patience);
    const { report } = await pod.apply([cut]);
    assert.equal(report.faults[0]?.state, FaultState.ACTIVE);
    assert.equal(await pod.stop(sidecar), 0);
  });
});

const withoutComments = (text: string): string => text.replaceAll(/^#.*\n/gm, "");

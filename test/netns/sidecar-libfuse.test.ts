import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sidecarPaths, sidecarVariables } from "../../common/sidecar-layout.ts";
import { writeBundles } from "../../lab/bundles.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import { type Fault, FaultState } from "../../proto/gen/agent.ts";
import { networkFault, rule } from "../support/network-faults.ts";
import type { Ended } from "./support/pod-process.ts";
import { createSidecarPod, type SidecarPod } from "./support/sidecar-pod.ts";

const patience = { timeoutMs: 15_000, everyMs: 50 };
const DATA = `${sidecarPaths.volumes}/data`;
const variables = {
  [sidecarVariables.volumes]: '[{"name":"data","source":"emptyDir"}]',
  [sidecarVariables.filesDriver]: "libfuse",
};
/** Of the server in this pod, and of no other one on the machine. */
const FIND_SERVER = `for pid in $(pgrep -f 'serve-[l]ibfuse'); do
  [ "$(readlink /proc/$pid/ns/mnt)" = "$(readlink /proc/self/ns/mnt)" ] && echo $pid; done`;

const eio: Fault = {
  ...networkFault("a", [rule({})]),
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
const kind = { $case: "attributes", value: { kind: 0o040000 } } as const;
const otherType: Fault = { ...eio, id: "b", family: { $case: "io", value: { ...eio.family?.value, effect: kind } } } as Fault;

(process.arch === "x64" ? describe : describe.skip)("the sidecar's bundle in a pod whose volume it serves through libfuse", () => {
  let bundles: string;
  let pod: SidecarPod;
  before(async () => {
    bundles = await mkdtemp(join(tmpdir(), "squall-bundles-"));
    await writeBundles(bundles);
  });
  after(() => rm(bundles, { recursive: true }));
  afterEach(() => pod.close());

  const shell = (script: string): Promise<Ended> => pod.attempt("sh", "-c", script);
  const says = async (script: string): Promise<string> => (await shell(script)).output.trim();

  it("serves it with what the bundle brings, faults it, comes back after a kill, and leaves the folder as it was", async () => {
    pod = await createSidecarPod({ bundles });
    await shell(`mkdir -p /var/plain ${DATA}; mount --bind /var/plain ${DATA}; mount --make-shared ${DATA}; echo 1 >${DATA}/a.log`);
    const sidecar = await pod.startSidecar(variables);
    await waitUntil("the volume is served", async () => (await says(`stat -f -c %T ${DATA}`)) === "fuseblk", patience);
    assert.equal(await says(`cat ${DATA}/a.log; echo 2 >${DATA}/b.txt; cat /var/plain/b.txt`), "1\n2");

    const { report } = await pod.apply([eio, otherType]);
    assert.deepEqual(report.passport?.volumes, ["data"]);
    assert.deepEqual(
      report.faults.map(({ id, state, reason }) => [id, state, reason]),
      [
        ["a", FaultState.ACTIVE, ""],
        ["b", FaultState.REFUSED, "LibfuseNotSupported"],
      ],
    );
    assert.match(await says(`cat ${DATA}/a.log`), /Input\/output error/);
    assert.equal(await says(`cat ${DATA}/b.txt`), "2");

    await shell(`kill -KILL $(${FIND_SERVER})`);
    await waitUntil("another one serves it", async () => (await says(`cat ${DATA}/b.txt`)) === "2", patience);
    assert.match(await says(`cat ${DATA}/a.log`), /Input\/output error/);
    await pod.apply([]);
    assert.equal(await says(`cat ${DATA}/a.log`), "1");

    const privateMb = Number(await says(`awk '/^Private/ {sum += $2} END {print sum / 1000}' /proc/$(${FIND_SERVER})/smaps_rollup`));
    assert.ok(privateMb > 5 && privateMb < 70, `The server has ${privateMb} MB of its own.`);
    assert.equal(await pod.stop(sidecar), 0);
    assert.equal(await says(`grep -c " ${DATA} fuse" /proc/mounts`), "0");
    assert.equal(await says(`cat ${DATA}/a.log ${DATA}/b.txt`), "1\n2");
  });
});

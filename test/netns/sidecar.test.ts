import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeBundles } from "../../lab/bundles.ts";
import { FaultState } from "../../proto/gen/agent.ts";
import { networkFault, rule, shape } from "../support/network-faults.ts";
import { createSidecarPod, type SidecarPod } from "./support/sidecar-pod.ts";

const MB = 1e6;
const cut = networkFault("a", [rule({})]);
const slow = networkFault("b", [rule({ effect: shape({ latencyUs: 50_000 }) })]);

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
});

const withoutComments = (text: string): string => text.replaceAll(/^#.*\n/gm, "");

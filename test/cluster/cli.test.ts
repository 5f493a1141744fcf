import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { storyCluster } from "./support/cluster.ts";
import { type Peers, startPeers } from "./support/peers.ts";
import { networkChaos, peerPod, target } from "./support/pods.ts";

describe("a user asks the squall command", () => {
  let peers: Peers;
  before(async () => {
    peers = await startPeers("asking-street", ["a", "b"]);
  });
  after(() => peers.remove());

  async function squall(...parameters: readonly string[]): Promise<string> {
    const { kubeconfig } = await storyCluster();
    const { stdout } = await promisify(execFile)(process.execPath, [
      "cli/main.ts",
      "--kubeconfig",
      kubeconfig,
      "-n",
      peers.namespace,
      ...parameters,
    ]);
    return stdout;
  }

  it("explain: sees every class of packets, which experiments it is of, and what it counted", async () => {
    assert.match(await squall("explain", "a"), /No fault is in force on this pod/);
    await peers.applyAndWait(
      networkChaos({
        name: "slow",
        namespace: peers.namespace,
        from: "a",
        spec: { action: "delay", delay: { latency: "20ms" }, target: target("b") },
      }),
    );
    await peers.applyAndWait(
      networkChaos({ name: "thin", namespace: peers.namespace, from: "a", spec: { action: "loss", loss: { loss: "1" } } }),
    );
    await peers.survey("a", [peers.ip("b")]);
    const text = await squall("explain", "a");
    assert.match(text, /NetworkChaos\/asking-street\/slow +ACTIVE/);
    const both = text.split("\n").find((line) => line.includes("slow + ") || line.includes("thin + "));
    assert.match(both ?? "", /late by 20 ms.*1 % lost|1 % lost.*late by 20 ms/);
    assert.ok(Number(both?.trim().split(/\s+/).at(-1)) >= 9, text);
    await peers.deleteExperiments();
  });

  it("doctor: sees what each pod can do, and what to do about one without a sidecar", async () => {
    const { peerImage } = await storyCluster();
    await peers.kubectl(["label", "namespace", peers.namespace, "squall.dev/inject-"]);
    await peers.apply(peerPod({ name: "bare", namespace: peers.namespace, image: peerImage }));
    await peers.kubectl(["label", "namespace", peers.namespace, "squall.dev/inject=enabled"]);
    const text = await squall("doctor");
    assert.match(text, /^a +0\.\d+\.\d+ +nfqueue +ipv4/m);
    assert.match(text, /^bare +none/m);
    assert.match(text, /kubectl rollout restart deployment -n asking-street/);
    const parsed = JSON.parse(await squall("doctor", "-o", "json")) as { readonly pods: readonly { readonly pod: string }[] };
    assert.deepEqual(parsed.pods.map(({ pod }) => pod).toSorted(), ["a", "b", "bare"]);
  });

  it("hears in words what is wrong", async () => {
    await assert.rejects(squall("explain", "nobody"), /nobody/);
    await assert.rejects(squall("explain"), /missing required argument/);
  });
});

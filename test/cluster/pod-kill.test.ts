import assert from "node:assert/strict";
import { waitUntil } from "../../lab/wait-until.ts";
import { storyCluster } from "./support/cluster.ts";
import { type Peers, startPeers } from "./support/peers.ts";

describe("a user kills pods", () => {
  let peers: Peers;
  before(async () => {
    peers = await startPeers("kill-street", []);
    const { peerImage } = await storyCluster();
    const container = { name: "sleeper", image: peerImage, imagePullPolicy: "IfNotPresent", command: ["sleep", "600"] };
    await peers.apply({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "cart", namespace: peers.namespace },
      spec: {
        replicas: 3,
        selector: { matchLabels: { app: "cart" } },
        template: { metadata: { labels: { app: "cart" } }, spec: { terminationGracePeriodSeconds: 0, containers: [container] } },
      },
    });
    await peers.waitFor("deployment/cart", "Available");
  });
  after(() => peers.remove());

  const uids = async (): Promise<readonly string[]> =>
    (await peers.kubectl(["get", "pods", "-n", peers.namespace, "-l", "app=cart", "-o", "jsonpath={.items[*].metadata.uid}"])).split(" ");

  it("kills as many as asked, once, and leaves the replacements alone", async () => {
    const before = await uids();
    await peers.apply({
      apiVersion: "chaos-mesh.org/v1alpha1",
      kind: "PodChaos",
      metadata: { name: "kill-two", namespace: peers.namespace },
      spec: { action: "pod-kill", mode: "fixed", value: "2", gracePeriod: 0, selector: { labelSelectors: { app: "cart" } } },
    });
    await peers.waitFor("podchaos/kill-two", "AllInjected");
    const areReplaced = async (): Promise<boolean | string> => {
      const now = await uids();
      return now.filter((uid) => !before.includes(uid)).length === 2 || `${now.join(" ")}, before: ${before.join(" ")}`;
    };
    await waitUntil("the Deployment replaced both", areReplaced, { timeoutMs: 30_000 });
    const after = await uids();
    await peers.pause(3_000);
    assert.deepEqual((await uids()).toSorted(), after.toSorted(), "a replacement was killed too");
    await peers.deleteExperiments();
  });
});

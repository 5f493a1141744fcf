import assert from "node:assert/strict";
import { type Peers, startPeers } from "./support/peers.ts";
import { networkChaos, target } from "./support/pods.ts";

describe("a user cuts the network", () => {
  let peers: Peers;
  before(async () => {
    peers = await startPeers("cut-street", ["a", "b", "c"]);
  });
  after(() => peers.remove());
  afterEach(() => peers.deleteExperiments());

  /** How a datagram from one peer to another fares: an error at the sender, no answer, or an answer. */
  async function fate(from: string, to: string): Promise<"blocked" | "lost" | "answered"> {
    const { errors, received } = await peers.udp(from, peers.ip(to), 5, 20);
    if (errors > 0) return "blocked";
    return received > 0 ? "answered" : "lost";
  }

  const table = [
    { direction: "to", ab: "blocked", ba: "lost", why: "a may not send to b: b's request arrives nowhere that could answer it" },
    { direction: "from", ab: "lost", ba: "blocked", why: "b may not send to a" },
    { direction: "both", ab: "blocked", ba: "blocked", why: "neither may send" },
  ] as const;
  for (const { direction, ab, ba, why } of table) {
    it(`${direction}: ${why}; c hears both; all is well after recovery`, async () => {
      const before = await peers.dump("a");
      const spec = { action: "partition", direction, target: target("b") };
      await peers.applyAndWait(networkChaos({ name: `cut-${direction}`, namespace: peers.namespace, from: "a", spec }));
      assert.equal(await fate("a", "b"), ab);
      assert.equal(await fate("b", "a"), ba);
      assert.equal(await fate("a", "c"), "answered");
      assert.equal(await fate("c", "b"), "answered");
      const service = await peers.tcp("a", `b.${peers.namespace}.svc.cluster.local`, 1);
      assert.deepEqual(service.connects, [], "the Service of b is a way around the partition");
      await peers.deleteExperiments();
      assert.equal(await fate("a", "b"), "answered");
      assert.equal(await fate("b", "a"), "answered");
      assert.equal(await peers.dump("a"), before);
    });
  }

  it("without a target cuts everything, and the kubelet's probes still get through", async () => {
    await peers.applyAndWait(
      networkChaos({ name: "alone", namespace: peers.namespace, from: "a", spec: { action: "partition", direction: "both" } }),
    );
    assert.equal(await fate("a", "b"), "blocked");
    assert.equal(await fate("a", "c"), "blocked");
    assert.equal(await fate("c", "a"), "lost");
    await peers.pause(4000); // two probe periods
    assert.equal(await peers.jsonpath("pod/a", "{.status.containerStatuses[0].ready}"), "true");
    const receipts = (await peers.experiment("alone")).status.experiment.containerRecords[0];
    assert.equal(receipts?.phase, "Injected");
  });

  it("cuts off external addresses, and only those", async () => {
    const spec = { action: "partition", externalTargets: [`${peers.ip("c")}/32`] };
    await peers.applyAndWait(networkChaos({ name: "outside", namespace: peers.namespace, from: "a", spec }));
    assert.equal(await fate("a", "c"), "blocked");
    assert.equal(await fate("a", "b"), "answered");
  });
});

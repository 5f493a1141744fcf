import assert from "node:assert/strict";
import { waitUntil } from "../../lab/wait-until.ts";
import { storyCluster } from "./support/cluster.ts";
import { type Peers, startPeers } from "./support/peers.ts";
import { networkChaos, peerPod } from "./support/pods.ts";

const PAUSE = "experiment.chaos-mesh.org/pause";

describe("a user pauses an experiment, and one that follows", () => {
  let peers: Peers;
  before(async () => {
    peers = await startPeers("moving-street", ["a", "b"]);
  });
  after(() => peers.remove());
  afterEach(() => peers.deleteExperiments());

  const slowToB = async (): Promise<number> => (await peers.survey("a", [peers.ip("b")]))[0]?.roundTripMs ?? Number.NaN;

  it("lifts the fault while the annotation is there, brings it back without it, and counts both", async () => {
    await peers.applyAndWait(
      networkChaos({ name: "slow", namespace: peers.namespace, from: "a", spec: { action: "delay", delay: { latency: "150ms" } } }),
    );
    assert.ok((await slowToB()) >= 150);
    for (let round = 1; round <= 2; round++) {
      await peers.kubectl(["annotate", "networkchaos", "slow", "-n", peers.namespace, `${PAUSE}=true`]);
      await peers.waitFor("networkchaos/slow", "AllRecovered");
      assert.ok((await slowToB()) < 100, "slow although paused");
      await peers.kubectl(["annotate", "networkchaos", "slow", "-n", peers.namespace, `${PAUSE}-`]);
      await peers.waitFor("networkchaos/slow", "AllInjected");
      assert.ok((await slowToB()) >= 150);
      const [record] = (await peers.experiment("slow")).status.experiment.containerRecords;
      assert.equal(record?.injectedCount, round + 1);
    }
  });

  it("faults a pod that is born later from its first packet, and leaves it alone without the annotation", async () => {
    const { peerImage } = await storyCluster();
    const later = (name: string, group: string): object => {
      // Sends to b as the first thing it does and keeps the round trips.
      const command = ["sh", "-c", `node /peer/peer.ts once survey ${peers.ip("b")} > /dev/termination-log; exec node /peer/peer.ts serve`];
      return peerPod({ name, namespace: peers.namespace, image: peerImage, labels: { group }, container: { command } });
    };
    const spec = (group: string): object => ({ action: "delay", delay: { latency: "150ms" }, selector: { labelSelectors: { group } } });
    await peers.apply(later("c0", "followed"), later("d0", "left"));
    for (const name of ["c0", "d0"])
      await peers.kubectl(["wait", "-n", peers.namespace, `pod/${name}`, "--for=condition=Ready", "--timeout=60s"], { timeoutMs: 70_000 });
    const annotations = { "squall.dev/follow": "true" };
    await peers.applyAndWait(networkChaos({ name: "follows", namespace: peers.namespace, annotations, from: "", spec: spec("followed") }));
    await peers.applyAndWait(networkChaos({ name: "stays", namespace: peers.namespace, from: "", spec: spec("left") }));
    await peers.apply(later("c1", "followed"), later("d1", "left"));
    const firstTrip = async (name: string): Promise<number> => {
      let text = "";
      const hasSent = async (): Promise<boolean | string> => {
        const read = await peers.kubectl.attempt(["exec", "-n", peers.namespace, name, "-c", "peer", "--", "cat", "/dev/termination-log"]);
        text = read.stdout;
        return text.includes("roundTripMs") || `${text}${read.stderr}`;
      };
      await waitUntil(`${name} has sent its first packets`, hasSent, { timeoutMs: 60_000 });
      return (JSON.parse(text) as readonly { readonly roundTripMs: number }[])[0]?.roundTripMs ?? Number.NaN;
    };
    assert.ok((await firstTrip("c1")) >= 150, "the first packets of a pod that is followed were quick");
    assert.ok((await firstTrip("d1")) < 100, "a pod that nobody follows is slow");
    const ids = (await peers.experiment("follows")).status.experiment.containerRecords.map(({ id }) => id);
    assert.deepEqual(ids.toSorted(), [`${peers.namespace}/c0`, `${peers.namespace}/c1`]);
  });
});

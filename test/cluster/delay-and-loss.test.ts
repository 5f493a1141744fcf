import assert from "node:assert/strict";
import { binomialMargin, median } from "../support/statistics.ts";
import { type Peers, startPeers } from "./support/peers.ts";
import { networkChaos, target } from "./support/pods.ts";

const near = (measured: number, wanted: number, share: number): void =>
  assert.ok(Math.abs(measured - wanted) <= wanted * share, `${measured} is not within ${share * 100} % of ${wanted}`);

describe("a user slows and thins traffic", () => {
  let peers: Peers;
  before(async () => {
    peers = await startPeers("quiet-street", ["a", "b", "c"]);
  });
  after(() => peers.remove());
  afterEach(() => peers.deleteExperiments());

  const delay = (name: string, to: string, latency: string): object =>
    networkChaos({ name, namespace: peers.namespace, from: "a", spec: { action: "delay", delay: { latency }, target: target(to) } });

  it("sees 200 ms by pod address and through a Service, no other peer slower, and nothing after recovery", async () => {
    const addresses = { pod: peers.ip("b"), service: `b.${peers.namespace}.svc.cluster.local` };
    const before = await peers.tcp("a", addresses.service, 5);
    assert.ok(median(before.connects) < 50, `slow before any fault: ${before.connects.join(" ")}`);

    await peers.applyAndWait(delay("slow-b", "b", "200ms"));
    near(median((await peers.tcp("a", addresses.pod, 7)).connects), 200, 0.1);
    near(median((await peers.tcp("a", addresses.service, 7)).connects), 200, 0.1);
    near(median((await peers.udp("a", addresses.pod, 30, 10)).roundTrips), 200, 0.1);
    assert.ok(median((await peers.tcp("a", peers.ip("c"), 5)).connects) < 50, "a peer that is no target is slow");

    await peers.deleteExperiments();
    assert.ok(median((await peers.tcp("a", addresses.pod, 5)).connects) < 50, "still slow by address");
    assert.ok(median((await peers.tcp("a", addresses.service, 5)).connects) < 50, "still slow through the Service");
  });

  it("adds two delays up where two experiments meet on one pod, and takes back only the deleted one", async () => {
    await peers.applyAndWait(delay("first", "b", "100ms"));
    await peers.applyAndWait(
      networkChaos({ name: "second", namespace: peers.namespace, from: "a", spec: { action: "delay", delay: { latency: "150ms" } } }),
    );
    near(median((await peers.udp("a", peers.ip("b"), 30, 10)).roundTrips), 250, 0.1);
    near(median((await peers.udp("a", peers.ip("c"), 30, 10)).roundTrips), 150, 0.1);
    await peers.deleteExperiment("second");
    near(median((await peers.udp("a", peers.ip("b"), 30, 10)).roundTrips), 100, 0.1);
    assert.ok(median((await peers.udp("a", peers.ip("c"), 30, 10)).roundTrips) < 50);
  });

  it("delays in both directions when asked to", async () => {
    const both = { action: "delay", delay: { latency: "60ms", jitter: "5ms" }, direction: "both", target: target("b") };
    await peers.applyAndWait(networkChaos({ name: "both", namespace: peers.namespace, from: "a", spec: both }));
    near(median((await peers.udp("a", peers.ip("b"), 60, 10)).roundTrips), 120, 0.1);
    near(median((await peers.udp("b", peers.ip("a"), 60, 10)).roundTrips), 120, 0.1);
  });

  it("gets 10 MB through intact under delay, and under loss", async () => {
    await peers.applyAndWait(delay("slow-b", "b", "50ms"));
    const slow = await peers.upload("a", peers.ip("b"), 10_000_000);
    assert.equal(slow.received, slow.sent);
    await peers.deleteExperiments();

    const spec = { action: "loss", loss: { loss: "3" }, target: target("b") };
    await peers.applyAndWait(networkChaos({ name: "lossy", namespace: peers.namespace, from: "a", spec }));
    const lossy = await peers.upload("a", peers.ip("b"), 10_000_000);
    assert.equal(lossy.received, lossy.sent);
  });

  it("loses the share it asked for, without an error at the sender, and tells so in the receipt", async () => {
    const spec = { action: "loss", loss: { loss: "25" }, target: target("b") };
    await peers.applyAndWait(networkChaos({ name: "lossy", namespace: peers.namespace, from: "a", spec }));
    const { sent, received, errors } = await peers.udp("a", peers.ip("b"), 6000, 0);
    const lost = sent - received;
    const margin = binomialMargin(sent, 0.25);
    assert.ok(Math.abs(lost - sent / 4) <= margin, `${lost} of ${sent} lost, more than ${margin.toFixed(0)} from a quarter`);
    assert.equal(errors, 0);
    await peers.kubectl(["annotate", "networkchaos", "lossy", "-n", peers.namespace, "experiment.chaos-mesh.org/pause=true"]);
    await peers.waitFor("networkchaos/lossy", "AllRecovered");
    const [record] = (await peers.experiment("lossy")).status.experiment.containerRecords;
    assert.equal(record?.receipts?.dropped, lost);
    assert.ok((record?.receipts?.matched ?? 0) >= sent);
  });
});

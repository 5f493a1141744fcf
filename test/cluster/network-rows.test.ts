import assert from "node:assert/strict";
import { type Peers, startPeers } from "./support/peers.ts";
import { networkChaos, target } from "./support/pods.ts";

/**
 * The rows N1 to N15 of Chaos Mesh's own end-to-end tests, over four peers of which the odd ones have the label partition=1: who is blocked
 * (an error at the sender), who is slow (a round trip above 100 ms), by pod address and through Services. N0 is in opt-in.test.ts.
 */
const names = ["p0", "p1", "p2", "p3"] as const;
const half = (partition: 0 | 1): object => ({ mode: "all", selector: { labelSelectors: { partition: String(partition) } } });
const delay = { action: "delay", delay: { latency: "200ms", correlation: "25", jitter: "0ms" } };
const everything = {
  action: "netem",
  delay: { latency: "200ms", correlation: "25" },
  loss: { loss: "25", correlation: "25" },
  duplicate: { duplicate: "25", correlation: "25" },
  corrupt: { corrupt: "25", correlation: "25" },
};

describe("a user of Chaos Mesh brings the manifests along", () => {
  let peers: Peers;
  /** Addresses of the peers' Services: a look-up of their names would be faulted as well. */
  let services: readonly string[];
  before(async () => {
    peers = await startPeers("known-street", names, { labelsOf: (name) => ({ partition: String(Number(name.slice(1)) % 2) }) });
    services = await Promise.all(names.map((name) => peers.jsonpath(`service/${name}`, "{.spec.clusterIP}")));
  });
  after(() => peers.remove());
  afterEach(() => peers.deleteExperiments());

  const from = (name: string, spec: object): object => networkChaos({ name, namespace: peers.namespace, from: "p0", spec });

  async function apply(objects: readonly object[]): Promise<void> {
    for (const object of objects) await peers.applyAndWait(object);
  }

  /** Pairs from → to, over both ways: "01" is p0 to p1. */
  async function survey(): Promise<{ readonly blocked: readonly string[]; readonly slow: readonly string[] }> {
    const rows = await Promise.all(
      names.map(async (name, source) => {
        const others = names.filter((other) => other !== name);
        const hosts = [...others.map((other) => peers.ip(other)), ...others.map((other) => services[names.indexOf(other)] ?? "")];
        const found = await peers.survey(name, hosts);
        return others.map((other, index) => {
          const pair = `${source}${other.slice(1)}`;
          const [direct, service] = [found[index], found[index + others.length]];
          const isBlocked = (direct?.errors ?? 0) > 0;
          const isSlow = (direct?.roundTripMs ?? 0) > 100;
          assert.equal((service?.errors ?? 0) > 0, isBlocked, `${pair} differs through the Service`);
          if (!isBlocked && direct?.roundTripMs !== null)
            assert.equal((service?.roundTripMs ?? 0) > 100, isSlow, `${pair} differs through the Service`);
          return { pair, isBlocked, isSlow };
        });
      }),
    );
    const all = rows.flat();
    return {
      blocked: all.filter(({ isBlocked }) => isBlocked).map(({ pair }) => pair),
      slow: all.filter(({ isSlow }) => isSlow).map(({ pair }) => pair),
    };
  }

  const partition = (direction: string, spec: object = {}): object => ({ action: "partition", direction, ...spec });
  const cuts: readonly (readonly [row: string, specs: readonly object[], blocked: readonly string[]])[] = [
    ["N1", [partition("to", { target: target("p1") })], ["01"]],
    ["N2", [partition("both", { target: target("p1") })], ["01", "10"]],
    ["N3", [partition("from", { target: target("p1") })], ["10"]],
    ["N4", [partition("both", { target: half(1) })], ["01", "03", "10", "30"]],
    ["N5", [partition("both", { target: half(1) }), partition("to", { target: target("p2") })], ["01", "02", "03", "10", "30"]],
    ["N6", [partition("to")], ["01", "02", "03"]],
    ["N7", [partition("from")], []],
  ];
  for (const [row, specs, blocked] of cuts) {
    it(`${row} and N8: ${JSON.stringify(specs)} blocks ${blocked.join(", ") || "no sender"}, and nobody once deleted`, async () => {
      await apply(specs.map((spec, index) => from(`cut-${index}`, spec)));
      assert.deepEqual((await survey()).blocked, blocked);
      await peers.deleteExperiments();
      assert.deepEqual(await survey(), { blocked: [], slow: [] });
    });
  }

  // A round trip is slow in both ways when either end delays what it sends.
  const both = (...pairs: readonly string[]): readonly string[] => [...pairs, ...pairs.map((pair) => `${pair[1]}${pair[0]}`)].toSorted();
  const delays: readonly (readonly [row: string, specs: readonly object[], slow: readonly string[]])[] = [
    ["N9", [delay], both("01", "02", "03")],
    ["N10", [{ ...delay, target: target("p1") }], both("01")],
    ["N11", [{ ...delay, target: half(0) }], both("02")],
    [
      "N12",
      [
        { ...delay, target: target("p1") },
        { ...delay, target: half(0) },
      ],
      both("01", "02"),
    ],
    ["N14", [{ ...delay, target: half(0), direction: "both" }], both("02")],
    [
      "N15",
      [{ ...delay, selector: { labelSelectors: { partition: "0" } }, target: half(1), direction: "both" }],
      both("01", "03", "12", "23"),
    ],
  ];
  for (const [row, specs, slow] of delays) {
    it(`${row}: ${JSON.stringify(specs)} slows ${slow.join(", ")}`, async () => {
      await apply(specs.map((spec, index) => from(`slow-${index}`, spec)));
      assert.deepEqual(await survey(), { blocked: [], slow });
      await peers.deleteExperiments();
      assert.deepEqual(await survey(), { blocked: [], slow: [] });
    });
  }

  it("N13: delay, loss, duplication and corruption together slow everybody", async () => {
    await apply([from("all-of-it", everything)]);
    assert.deepEqual((await survey()).slow, both("01", "02", "03"));
    const [record] = (await peers.experiment("all-of-it")).status.experiment.containerRecords;
    assert.equal(record?.phase, "Injected");
    await peers.deleteExperiments();
    assert.deepEqual(await survey(), { blocked: [], slow: [] });
  });

  it("faults what goes through a Service that covers the targets only partly, where it arrives", async () => {
    const service = {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "evens", namespace: peers.namespace },
      spec: { selector: { partition: "0" }, ports: [{ name: "udp", port: 7001, protocol: "UDP" }] },
    };
    await peers.apply(service);
    const evens = await peers.jsonpath("service/evens", "{.spec.clusterIP}");
    // Every datagram to "evens" ends at p0 or p2; only p2 is a target, and the pod that sends is p1.
    await peers.applyAndWait(
      networkChaos({ name: "partly", namespace: peers.namespace, from: "p1", spec: { ...delay, target: target("p2") } }),
    );
    const { containerRecords } = (await peers.experiment("partly")).status.experiment;
    assert.ok(
      containerRecords.every(({ reason }) => reason === undefined),
      JSON.stringify(containerRecords),
    );
    const trips = await Promise.all(Array.from({ length: 12 }, () => peers.survey("p1", [evens])));
    const slow = trips.filter(([found]) => (found?.roundTripMs ?? 0) > 150).length;
    assert.ok(slow > 0 && slow < trips.length, `${slow} of ${trips.length} slow`);
    const [direct] = await peers.survey("p1", [peers.ip("p2")]);
    assert.ok((direct?.roundTripMs ?? 0) > 150 && (direct?.roundTripMs ?? 0) < 260, `delayed twice or not at all: ${direct?.roundTripMs}`);
    await peers.kubectl(["delete", "service", "evens", "-n", peers.namespace]);
    await peers.deleteExperiments();
  });

  it("follows a host name to the addresses that the pod is given for it", async () => {
    const name = `p3.${peers.namespace}.svc.cluster.local`;
    await peers.applyAndWait(from("by-name", { ...delay, externalTargets: [name] }));
    const [byName, other] = await peers.survey("p0", [name, `p2.${peers.namespace}.svc.cluster.local`]);
    assert.ok((byName?.roundTripMs ?? 0) > 150, `${byName?.roundTripMs}`);
    assert.ok((other?.roundTripMs ?? 999) < 100, `${other?.roundTripMs}`);
    const resolved = await peers.jsonpath("networkchaos/by-name", "{.status.experiment.containerRecords[0].resolved}");
    const address = await peers.jsonpath("service/p3", "{.spec.clusterIP}");
    assert.deepEqual(JSON.parse(resolved), { [name]: [address] });
    await peers.deleteExperiments();
  });

  it("limits the bandwidth to the rate that was asked for", async () => {
    await peers.applyAndWait(
      from("narrow", { action: "bandwidth", bandwidth: { rate: "2mbps", limit: 200_000, buffer: 20_000 }, target: target("p1") }),
    );
    const { ms, sent, received } = await peers.upload("p0", peers.ip("p1"), 5_000_000);
    assert.equal(received, sent);
    // 2 MB/s on the wire, of which 1,448 of 1,514 bytes are payload
    const rate = (5_000_000 * (1514 / 1448)) / (ms / 1000) / 2_000_000;
    assert.ok(Math.abs(rate - 1) < 0.05, `${rate.toFixed(3)} of the rate`);
    await peers.deleteExperiments();
  });
});

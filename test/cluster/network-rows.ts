import assert from "node:assert/strict";
import { waitUntil } from "../../lab/wait-until.ts";
import { type Peers, startPeers, type Survey } from "./support/peers.ts";
import { type Kernel, networkChaos, target } from "./support/pods.ts";

const names = ["p0", "p1", "p2", "p3"] as const;

export interface RowsPlace {
  /** In words, for the title: where the peers are. */
  readonly where: string;
  readonly namespace: string;
  readonly kernelOf: (peer: (typeof names)[number]) => Kernel;
}

const half = (partition: 0 | 1): object => ({ mode: "all", selector: { labelSelectors: { partition: String(partition) } } });
const delay = { action: "delay", delay: { latency: "200ms", correlation: "25", jitter: "0ms" } };
const everything = {
  action: "netem",
  delay: { latency: "200ms", correlation: "25" },
  loss: { loss: "25", correlation: "25" },
  duplicate: { duplicate: "25", correlation: "25" },
  corrupt: { corrupt: "25", correlation: "25" },
};

/** How a peer fares at one address: an error at the sender, no answer, a late one or one at once. */
function judge({ errors, roundTripMs }: Survey): "blocked" | "lost" | "slow" | "well" {
  if (errors.length > 0) return "blocked";
  if (roundTripMs === null) return "lost";
  return roundTripMs > 100 ? "slow" : "well";
}

/**
 * The rows N1 to N15 of Chaos Mesh's own end-to-end tests, over four peers of which the odd ones have the label partition=1: who is blocked
 * (an error at the sender), who is slow (a round trip above 100 ms), by pod address and through Services. N0 is in opt-in.test.ts.
 */
export function tellNetworkRows({ where, namespace, kernelOf }: RowsPlace): void {
  describe(`a user of Chaos Mesh brings the manifests along, ${where}`, () => {
    let peers: Peers;
    /** Every address of a peer and its Service, of both families where the cluster has both: a look-up of names would be faulted as well. */
    let hosts: ReadonlyMap<string, readonly string[]>;
    before(async () => {
      peers = await startPeers(namespace, names, { labelsOf: (name) => ({ partition: String(Number(name.slice(1)) % 2) }), kernelOf });
      hosts = new Map(
        await Promise.all(names.map(async (name) => [name, [...peers.ips(name), ...(await peers.serviceIps(name))]] as const)),
      );
      // A pod is Ready before its Service has it on every node.
      const doAllAnswer = async (): Promise<boolean | string> => {
        const ways = [...(await look()).values()].flat();
        return ways.every((way) => judge(way) === "well") || JSON.stringify(ways);
      };
      await waitUntil("every peer answers at every address", doAllAnswer, { timeoutMs: 60_000 });
    });
    after(() => peers.remove());
    afterEach(() => peers.deleteExperiments());

    const hostsOf = (name: string): readonly string[] => hosts.get(name) ?? [];
    const from = (name: string, spec: object): object => networkChaos({ name, namespace: peers.namespace, from: "p0", spec });

    async function apply(objects: readonly object[]): Promise<void> {
      for (const object of objects) await peers.applyAndWait(object);
    }

    /** What each peer finds at every address of every other's pod and Service; "01" is the pair p0 to p1. */
    async function look(): Promise<ReadonlyMap<string, readonly (Survey & { readonly host: string })[]>> {
      const rows = await Promise.all(
        names.map(async (name) => {
          const ways = names
            .filter((other) => other !== name)
            .flatMap((other) => hostsOf(other).map((host) => ({ pair: `${name.slice(1)}${other.slice(1)}`, host })));
          const found = await peers.survey(
            name,
            ways.map(({ host }) => host),
          );
          return ways.map((way, index) => ({ ...way, ...(found[index] ?? { errors: ["not surveyed"], roundTripMs: null }) }));
        }),
      );
      return Map.groupBy(rows.flat(), ({ pair }) => pair);
    }

    /** The pairs that are blocked or slow, which every address of a peer must agree about. */
    async function survey(): Promise<{ readonly blocked: readonly string[]; readonly slow: readonly string[] }> {
      const verdicts = [...(await look())].map(([pair, ways]) => {
        const [verdict, ...others] = new Set(ways.map(judge));
        assert.equal(others.length, 0, `the addresses of one peer differ: ${JSON.stringify(ways)}`);
        return { pair, verdict };
      });
      const pairsThatAre = (wanted: ReturnType<typeof judge>): readonly string[] =>
        verdicts.filter(({ verdict }) => verdict === wanted).map(({ pair }) => pair);
      return { blocked: pairsThatAre("blocked"), slow: pairsThatAre("slow") };
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
      assert.ok(
        (direct?.roundTripMs ?? 0) > 150 && (direct?.roundTripMs ?? 0) < 260,
        `delayed twice or not at all: ${direct?.roundTripMs}`,
      );
      await peers.kubectl(["delete", "service", "evens", "-n", peers.namespace]);
      await peers.deleteExperiments();
    });

    it("follows a host name to the addresses that the pod is given for it", async () => {
      const name = `p3.${peers.namespace}.svc.cluster.local`;
      await peers.applyAndWait(from("by-name", { ...delay, externalTargets: [name] }));
      const [byName, other] = await peers.survey("p0", [name, `p2.${peers.namespace}.svc.cluster.local`]);
      assert.ok((byName?.roundTripMs ?? 0) > 150, `${byName?.roundTripMs}`);
      assert.ok((other?.roundTripMs ?? 999) < 100, `${other?.roundTripMs}`);
      const resolved = JSON.parse(await peers.jsonpath("networkchaos/by-name", "{.status.experiment.containerRecords[0].resolved}")) as {
        readonly [name: string]: readonly string[];
      };
      assert.deepEqual(resolved[name]?.toSorted(), (await peers.serviceIps("p3")).toSorted());
      await peers.deleteExperiments();
    });

    it("limits the bandwidth to the rate that was asked for", async () => {
      await peers.applyAndWait(
        from("narrow", { action: "bandwidth", bandwidth: { rate: "1mbps", limit: 400_000, buffer: 100_000 }, target: target("p1") }),
      );
      // A busy machine may use less than it is allowed to, never more: the best of some uploads tells.
      let best = 0;
      for (let attempt = 0; attempt < 3 && best < 0.95; attempt++) {
        const { ms, sent, received } = await peers.upload("p0", peers.ip("p1"), 5_000_000);
        assert.equal(received, sent);
        // 1 MB/s on the wire, of which 1,448 of 1,514 bytes are payload
        best = Math.max(best, (5_000_000 * (1514 / 1448)) / (ms / 1000) / 1_000_000);
      }
      assert.ok(Math.abs(best - 1) < 0.05, `${best.toFixed(3)} of the rate`);
      await peers.deleteExperiments();
    });
  });
}

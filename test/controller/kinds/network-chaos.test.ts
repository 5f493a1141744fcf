import assert from "node:assert/strict";
import { experiments, type SpecOf } from "../../../api/kinds/experiments.ts";
import { networkChaos } from "../../../controller/kinds/network-chaos.ts";
import type { SelectorKey } from "../../../api/kinds/definition.ts";
import type { Target, Targets } from "../../../controller/kinds/translator.ts";
import { coverServices } from "../../../controller/services.ts";
import { networkRulesOf } from "../../support/network-faults.ts";

function specOf(spec: object): SpecOf<"NetworkChaos"> {
  const judged = experiments.NetworkChaos.judge({ metadata: {}, spec: { mode: "all", ...spec } }, { namespace: "shop" });
  return judged.ok ? judged.spec : assert.fail(JSON.stringify(judged.errors));
}

const target = (selectorKey: SelectorKey, name: string, address: string, hasAgent = true): Target => ({
  selectorKey,
  id: `shop/${name}`,
  uid: name,
  addresses: [address],
  hasAgent,
  mounts: [],
});
const around: Targets = {
  sources: [target(".", "a", "10.0.0.1")],
  targets: [target(".Target", "b", "10.0.0.2"), target(".Target", "bare", "10.0.0.3", false)],
  coverServices: (peers) => ({ addresses: peers.length > 1 ? ["10.96.0.9"] : [], partly: [] }),
};

/** `a: egress 10.0.0.2/32 …` for each rule. */
function describeFaults(spec: object, targets: Targets = around): readonly string[] {
  return networkChaos.faultsOf(specOf(spec), targets).flatMap(({ target: { uid }, family }) =>
    networkRulesOf(family).map(({ direction, peers, effect }) => {
      const way = direction === 1 ? "egress" : "ingress";
      const what =
        effect?.$case === "shape"
          ? `shape ${effect.value.latencyUs}us ${effect.value.jitterUs}us ${effect.value.lossPercent}%`
          : effect?.$case;
      return `${uid}: ${what} ${way} ${peers ? peers.networks.join(",") : "everything"}`;
    }),
  );
}

describe("the faults of a NetworkChaos", () => {
  const to = { target: { mode: "all" } };
  const far = "10.0.0.2/32,10.0.0.3/32,10.96.0.9/32";
  const rows: readonly (readonly [spec: object, faults: readonly string[]])[] = [
    [{ action: "delay", delay: { latency: "0.5s", jitter: "20ms" }, ...to }, [`a: shape 500000us 20000us 0% egress ${far}`]],
    [{ action: "loss", loss: { loss: "2.5" }, ...to, direction: "from" }, ["b: shape 0us 0us 2.5% egress 10.0.0.1/32"]],
    [
      { action: "delay", delay: { latency: "1ms" }, ...to, direction: "both" },
      [`a: shape 1000us 0us 0% egress ${far}`, "b: shape 1000us 0us 0% egress 10.0.0.1/32"],
    ],
    [{ action: "partition", ...to }, [`a: partition egress ${far}`, "b: partition ingress 10.0.0.1/32"]],
    [{ action: "partition", ...to, direction: "from" }, [`a: partition ingress ${far}`, "b: partition egress 10.0.0.1/32"]],
    [
      { action: "partition", ...to, direction: "both" },
      [`a: partition egress ${far}`, `a: partition ingress ${far}`, "b: partition egress 10.0.0.1/32", "b: partition ingress 10.0.0.1/32"],
    ],
  ];
  for (const [spec, faults] of rows) it(JSON.stringify(spec), () => assert.deepEqual(describeFaults(spec), faults));

  it("are one object for all pods of a selector, however many", () => {
    const pods = (key: SelectorKey, net: number): readonly Target[] =>
      Array.from({ length: 2_000 }, (_, index) => target(key, `${net}-${index}`, `10.${net}.${index >> 8}.${index & 255}`));
    const faults = networkChaos.faultsOf(specOf({ action: "partition", ...to }), {
      ...around,
      sources: pods(".", 1),
      targets: pods(".Target", 2),
    });
    assert.equal(faults.length, 4_000);
    assert.equal(new Set(faults.map(({ family }) => family)).size, 2);
  });

  const alone: Targets = { ...around, targets: [] };
  it("mean all traffic without target and external targets", () => {
    assert.deepEqual(describeFaults({ action: "partition", direction: "both" }, alone), [
      "a: partition egress everything",
      "a: partition ingress everything",
    ]);
  });
  it("mean external networks with their host bits cleared", () => {
    assert.deepEqual(describeFaults({ action: "partition", externalTargets: ["192.0.2.77/24", "198.51.100.1"] }, alone), [
      "a: partition egress 192.0.2.0/24,198.51.100.1/32",
    ]);
  });
});

describe("a rule of a NetworkChaos", () => {
  const delay = { action: "delay", delay: { latency: "1ms" } };
  const rulesOf = (spec: object, targets: Targets = around) =>
    networkChaos
      .faultsOf(specOf(spec), targets)
      .flatMap(({ target: { uid }, family, unmatchedServices }) =>
        networkRulesOf(family).map((rule) => ({ uid, unmatchedServices, ...rule })),
      );
  const shapeOf = (spec: object) => {
    const [rule] = rulesOf(spec);
    return rule?.effect?.$case === "shape" ? rule.effect.value : assert.fail();
  };

  it("has every number of every block", () => {
    const spec = {
      action: "netem",
      delay: { latency: "1.5s", jitter: "2ms", correlation: "25", reorder: { reorder: "5", correlation: "6", gap: 7 } },
      loss: { loss: "1", correlation: "2" },
      duplicate: { duplicate: "3", correlation: "4" },
      corrupt: { corrupt: "0.5", correlation: "8" },
      rate: { rate: "2kbps" },
      bandwidth: { rate: "1gbit", limit: 1, buffer: 1 },
    };
    assert.deepEqual(shapeOf(spec), {
      latencyUs: 1_500_000,
      jitterUs: 2_000,
      latencyCorrelation: 25,
      reorder: { percent: 5, correlation: 6, gap: 7 },
      lossPercent: 1,
      lossCorrelation: 2,
      duplicatePercent: 3,
      duplicateCorrelation: 4,
      corruptPercent: 0.5,
      corruptCorrelation: 8,
      rateBitsPerSecond: 16_000,
      bandwidth: undefined,
    });
  });

  it("has the bucket alone when the action is bandwidth", () => {
    const bandwidth = { rate: "1mbps", limit: 100, buffer: 200, peakrate: 9_000_000, minburst: 1500 };
    const shape = shapeOf({ action: "bandwidth", bandwidth, delay: { latency: "1s" } });
    assert.equal(shape.latencyUs, 0);
    assert.deepEqual(shape.bandwidth, {
      rateBitsPerSecond: 8_000_000,
      limitBytes: 100,
      bufferBytes: 200,
      peakRateBitsPerSecond: 9_000_000,
      minBurstBytes: 1500,
    });
  });

  it("has ports, protocol and device as each end sees them", () => {
    const spec = {
      ...delay,
      direction: "both",
      target: { mode: "all" },
      protocol: "tcp",
      ports: ["443"],
      sourcePorts: ["1024-65535"],
      device: "eth0@if3",
      targetDevice: "net1",
    };
    assert.deepEqual(
      rulesOf(spec).map(({ uid, device, protocol, localPorts, peerPorts }) => ({ uid, device, protocol, localPorts, peerPorts })),
      [
        { uid: "a", device: "eth0", protocol: 1, localPorts: [{ first: 1024, last: 65_535 }], peerPorts: [{ first: 443, last: 443 }] },
        { uid: "b", device: "net1", protocol: 1, localPorts: [{ first: 443, last: 443 }], peerPorts: [{ first: 1024, last: 65_535 }] },
      ],
    );
  });

  it("tells addresses, ports and names of external targets apart, in both families", () => {
    const externalTargets = ["192.0.2.0/24", "2001:db8::1", "[2001:db8::2]:53", "192.0.2.9:80", "Db.Example.com", "db.example.com:5432"];
    assert.deepEqual(rulesOf({ ...delay, externalTargets }, { ...around, targets: [] })[0]?.peers, {
      networks: ["192.0.2.0/24", "2001:db8::1/128"],
      endpoints: [
        { network: "2001:db8::2/128", port: 53 },
        { network: "192.0.2.9/32", port: 80 },
      ],
      hostNames: [
        { name: "db.example.com", port: 0 },
        { name: "db.example.com", port: 5432 },
      ],
    });
  });

  it("leaves out what is excluded, and targets that are excluded as a whole", () => {
    const spec = { action: "partition", target: { mode: "all" }, exclude: ["10.0.0.2/32"] };
    const rules = rulesOf(spec);
    assert.deepEqual(
      rules.map(({ uid }) => uid),
      ["a"],
    );
    assert.deepEqual(rules[0]?.except?.networks, ["10.0.0.2/32"]);
  });

  const partly: Targets = {
    ...around,
    targets: [target(".Target", "b", "10.0.0.2")],
    coverServices: (peers) => ({ addresses: [], partly: peers.some(({ uid }) => uid === "b") ? ["shop/store"] : [] }),
  };
  it("is for what arrives where a Service covers the targets only partly", () => {
    assert.deepEqual(describeFaults({ ...delay, target: { mode: "all" } }, partly), ["b: shape 1000us 0us 0% ingress 10.0.0.1/32"]);
    assert.deepEqual(describeFaults({ ...delay, target: { mode: "all" }, externalTargets: ["192.0.2.1"] }, partly), [
      "a: shape 1000us 0us 0% egress 192.0.2.1/32",
      "b: shape 1000us 0us 0% ingress 10.0.0.1/32",
    ]);
  });
  for (const [why, spec, targets] of [
    ["a target has no sidecar", delay, { ...partly, targets: [...partly.targets, target(".Target", "bare", "10.0.0.3", false)] }],
    ["packets are to be duplicated", { action: "duplicate", duplicate: { duplicate: "5" } }, partly],
    ["netem is asked for", { ...delay, engine: "netem" }, partly],
  ] as const) {
    it(`is for what leaves, and names the Service, where ${why}`, () => {
      const rules = rulesOf({ ...spec, target: { mode: "all" } }, targets);
      assert.deepEqual(
        rules.map(({ uid, direction, unmatchedServices }) => [uid, direction, unmatchedServices]),
        [["a", 1, ["shop/store"]]],
      );
    });
  }
});

describe("coverServices", () => {
  const service = (name: string, ...clusterIPs: readonly string[]) => ({ metadata: { name, namespace: "shop" }, spec: { clusterIPs } });
  const slice = (
    name: string,
    ...endpoints: readonly {
      readonly addresses: readonly string[];
      readonly conditions?: { readonly ready?: boolean; readonly serving?: boolean };
    }[]
  ) => ({
    metadata: { namespace: "shop", labels: { "kubernetes.io/service-name": name } },
    endpoints,
  });
  const peers = [{ uid: "b", addresses: ["10.0.0.2"] }];
  const rows: readonly (readonly [
    what: string,
    endpoints: Parameters<typeof slice>[1][],
    coverage: { readonly addresses: readonly string[]; readonly partly: readonly string[] },
  ])[] = [
    ["takes a Service all of whose endpoints are targets", [{ addresses: ["10.0.0.2"] }], { addresses: ["10.96.0.2"], partly: [] }],
    [
      "names one that has others, too",
      [{ addresses: ["10.0.0.2"] }, { addresses: ["10.0.0.3"] }],
      { addresses: [], partly: ["shop/store"] },
    ],
    [
      "leaves endpoints out that serve nobody",
      [{ addresses: ["10.0.0.2"] }, { addresses: ["10.0.0.3"], conditions: { ready: false } }],
      { addresses: ["10.96.0.2"], partly: [] },
    ],
    [
      "leaves endpoints out that end and still serve, as kube-proxy does while others are ready",
      [{ addresses: ["10.0.0.2"] }, { addresses: ["10.0.0.3"], conditions: { ready: false, serving: true } }],
      { addresses: ["10.96.0.2"], partly: [] },
    ],
    [
      "counts endpoints that end and still serve where none is ready",
      [
        { addresses: ["10.0.0.2"], conditions: { ready: false, serving: true } },
        { addresses: ["10.0.0.3"], conditions: { ready: false, serving: true } },
      ],
      { addresses: [], partly: ["shop/store"] },
    ],
    ["leaves a foreign Service alone", [{ addresses: ["10.0.0.9"] }], { addresses: [], partly: [] }],
    ["leaves a Service without endpoints alone", [], { addresses: [], partly: [] }],
  ];
  for (const [what, endpoints, coverage] of rows) {
    it(what, () => assert.deepEqual(coverServices(peers, [service("store", "10.96.0.2")], [slice("store", ...endpoints)]), coverage));
  }
  it("gives nothing for a headless Service", () => {
    assert.deepEqual(coverServices(peers, [service("store", "None")], [slice("store", { addresses: ["10.0.0.2"] })]), {
      addresses: [],
      partly: [],
    });
  });
});

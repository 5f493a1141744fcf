import assert from "node:assert/strict";
import { kinds, type SpecOf } from "../../../api/kinds/registry.ts";
import { networkChaos } from "../../../controller/kinds/network-chaos.ts";
import type { SelectorKey, Target, Targets } from "../../../controller/kinds/translator.ts";
import { coverServices } from "../../../controller/services.ts";

function specOf(spec: object): SpecOf<"NetworkChaos"> {
  const judged = kinds.NetworkChaos.judge({ metadata: {}, spec: { mode: "all", ...spec } }, { namespace: "shop" });
  return judged.ok ? judged.spec : assert.fail(JSON.stringify(judged.errors));
}

const target = (selectorKey: SelectorKey, name: string, address: string, hasSidecar = true): Target => ({
  selectorKey,
  id: `shop/${name}`,
  uid: name,
  addresses: [address],
  hasSidecar,
});
const around: Targets = {
  sources: [target(".", "a", "10.0.0.1")],
  targets: [target(".Target", "b", "10.0.0.2"), target(".Target", "bare", "10.0.0.3", false)],
  coverServices: (peers) => ({ addresses: peers.length > 1 ? ["10.96.0.9"] : [], partly: [] }),
};

/** `a: egress 10.0.0.2/32 …` for each rule. */
function describeFaults(spec: object, targets: Targets = around): readonly string[] {
  return networkChaos.faultsOf(specOf(spec), targets).flatMap(({ target: { uid }, family }) =>
    family.value.rules.map(({ direction, peers, effect }) => {
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

import assert from "node:assert/strict";
import fc from "fast-check";
import type { PodSelector } from "../../api/blocks/selector.ts";
import type { OptIn } from "../../api/opt-in.ts";
import { countDrawn, drawTargets, matchPods, podId, type SelectablePod, type TargetNeed, whySkipped } from "../../api/selection.ts";

interface Parts {
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly deletionTimestamp?: string;
  readonly spec?: object;
  readonly status?: object;
}

function pod(
  name: string,
  { namespace = "shop", labels = {}, annotations = {}, deletionTimestamp, spec = {}, status = {} }: Parts = {},
): SelectablePod {
  return {
    metadata: { name, namespace, uid: `uid-${name}`, labels, annotations, deletionTimestamp },
    spec: { nodeName: "n1", containers: [{ name: "app" }], initContainers: [{ name: "squall-sidecar" }], ...spec },
    status: { phase: "Running", podIP: "10.0.0.1", podIPs: [{ ip: "10.0.0.1" }], ...status },
  };
}

const pods = [
  pod("web", { labels: { app: "web", tier: "front" }, annotations: { team: "a" } }),
  pod("store", { labels: { app: "store" }, spec: { nodeName: "n2" } }),
  pod("old", { labels: { app: "store" }, status: { phase: "Succeeded" } }),
  pod("web", { namespace: "other", labels: { app: "web" } }),
];
const nodes = [{ metadata: { name: "n1", labels: { zone: "a" } } }, { metadata: { name: "n2", labels: { zone: "b" } } }];

describe("matchPods", () => {
  const rows: readonly (readonly [what: string, selector: PodSelector, ids: readonly string[]])[] = [
    ["an empty selector takes all of its namespaces", { namespaces: ["shop"] }, ["shop/old", "shop/store", "shop/web"]],
    ["labels", { namespaces: ["shop", "other"], labelSelectors: { app: "web" } }, ["other/web", "shop/web"]],
    [
      "In",
      { namespaces: ["shop"], expressionSelectors: [{ key: "app", operator: "In", values: ["store", "x"] }] },
      ["shop/old", "shop/store"],
    ],
    [
      "NotIn takes pods without the label, too",
      { namespaces: ["shop"], expressionSelectors: [{ key: "tier", operator: "NotIn", values: ["front"] }] },
      ["shop/old", "shop/store"],
    ],
    ["Exists", { namespaces: ["shop"], expressionSelectors: [{ key: "tier", operator: "Exists" }] }, ["shop/web"]],
    [
      "DoesNotExist",
      { namespaces: ["shop"], expressionSelectors: [{ key: "tier", operator: "DoesNotExist" }] },
      ["shop/old", "shop/store"],
    ],
    ["annotations", { namespaces: ["shop"], annotationSelectors: { team: "a" } }, ["shop/web"]],
    ["fields", { namespaces: ["shop"], fieldSelectors: { "spec.nodeName": "n2" } }, ["shop/store"]],
    ["nodes or node labels", { namespaces: ["shop"], nodes: ["n2"], nodeSelectors: { zone: "a" } }, ["shop/old", "shop/store", "shop/web"]],
    ["node labels that nobody has", { namespaces: ["shop"], nodeSelectors: { zone: "c" } }, []],
    ["phases", { namespaces: ["shop"], podPhaseSelectors: ["Succeeded"] }, ["shop/old"]],
    ["phases left out", { namespaces: ["shop"], podPhaseSelectors: ["!Succeeded"] }, ["shop/store", "shop/web"]],
    [
      "named pods, and nothing else counts",
      { namespaces: ["shop"], labelSelectors: { app: "x" }, pods: { other: ["web", "none"] } },
      ["other/web"],
    ],
    [
      "all requirements together",
      { namespaces: ["shop"], labelSelectors: { app: "store" }, podPhaseSelectors: ["Running"] },
      ["shop/store"],
    ],
  ];
  for (const [what, selector, ids] of rows) it(what, () => assert.deepEqual(matchPods(selector, pods, nodes).map(podId), ids));

  it("never takes a name of Object's own for a label", () => {
    assert.deepEqual(matchPods({ namespaces: ["shop"], labelSelectors: { constructor: "x" } }, pods, nodes), []);
  });
});

describe("whySkipped", () => {
  const rows: readonly (readonly [reason: string | undefined, candidate: SelectablePod, need: TargetNeed, optIn?: OptIn])[] = [
    [undefined, pod("a"), "sidecar"],
    ["NamespaceNotOptedIn", pod("a"), "sidecar", "none"],
    ["NamespaceNotOptedIn", pod("a"), "api", "none"],
    [undefined, pod("a"), "address", "none"],
    ["NotInjected", pod("a", { spec: { initContainers: [] } }), "sidecar"],
    ["NotInjected", pod("a", { spec: { initContainers: [] } }), "sidecar", "late-join"],
    ["NotInjected", pod("a", { spec: { initContainers: [] } }), "network"],
    [undefined, pod("a", { spec: { initContainers: [] } }), "network", "late-join"],
    [undefined, pod("a"), "network"],
    ["HostNetwork", pod("a", { spec: { hostNetwork: true, initContainers: [] } }), "network", "late-join"],
    [undefined, pod("a", { spec: { initContainers: [] } }), "api"],
    ["HostNetwork", pod("a", { spec: { hostNetwork: true, initContainers: [] } }), "sidecar"],
    ["Finished", pod("a", { status: { phase: "Failed" } }), "api"],
    ["Terminating", pod("a", { deletionTimestamp: "2026-01-01T00:00:00Z" }), "api"],
    ["NotRunning", pod("a", { status: { phase: "Pending", podIP: undefined, podIPs: [] } }), "sidecar"],
  ];
  for (const [reason, candidate, need, optIn = "sidecars"] of rows) {
    it(`says ${reason ?? "nothing"} (${need}, the namespace allows ${optIn})`, () =>
      assert.equal(whySkipped(candidate, { need }, () => optIn)?.reason, reason));
  }

  it("repeats why the injector left the pod alone", () => {
    const left = pod("a", { spec: { initContainers: [] }, annotations: { "squall.dev/injected": "ImageNotReady" } });
    assert.match(whySkipped(left, { need: "sidecar" }, () => "sidecars")?.message ?? "", /ImageNotReady/);
  });
});

describe("drawTargets", () => {
  const random = (bound: number): number => Math.floor(Math.random() * bound);
  const rows: readonly (readonly [
    block: { readonly mode: "one" | "all" | "fixed" | "fixed-percent"; readonly value?: string },
    of: number,
    drawn: number,
  ])[] = [
    [{ mode: "one" }, 10, 1],
    [{ mode: "one" }, 0, 0],
    [{ mode: "all" }, 7, 7],
    [{ mode: "fixed", value: "3" }, 10, 3],
    [{ mode: "fixed", value: "30" }, 10, 10],
    [{ mode: "fixed-percent", value: "1" }, 10, 1],
    [{ mode: "fixed-percent", value: "25" }, 10, 3],
    [{ mode: "fixed-percent", value: "100" }, 10, 10],
  ];
  for (const [block, of, drawn] of rows) {
    it(`draws ${drawn} of ${of} for ${JSON.stringify(block)}`, () =>
      assert.equal(
        drawTargets(
          Array.from({ length: of }, (_, index) => index),
          block,
          random,
        ).length,
        drawn,
      ));
  }

  it("draws without putting back and as many as were foretold, whatever the mode", () => {
    const block = fc.record({
      mode: fc.constantFrom("one", "all", "fixed", "fixed-percent", "random-max-percent"),
      value: fc.integer({ min: 1, max: 100 }).map(String),
    });
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat()), block, (candidates, picked) => {
        const drawn = drawTargets(candidates, picked, random);
        const { least, most } = countDrawn(candidates.length, picked);
        assert.equal(new Set(drawn).size, drawn.length);
        assert.ok(least <= drawn.length && drawn.length <= most);
        assert.ok(drawn.every((one) => candidates.includes(one)));
      }),
    );
  });

  it("draws evenly", () => {
    const counts = [0, 0, 0, 0];
    for (let round = 0; round < 4_000; round++)
      for (const one of drawTargets([0, 1, 2, 3], { mode: "fixed", value: "2" }, random)) counts[one] = (counts[one] ?? 0) + 1;
    for (const count of counts) assert.ok(Math.abs(count - 2_000) < 200, counts.join(" "));
  });
});

import assert from "node:assert/strict";
import fc from "fast-check";
import { type KindName, kinds } from "../../../api/kinds/registry.ts";

const around = { namespace: "shop" };
const base = { mode: "all", selector: { labelSelectors: { app: "web" } } };
const object = (kind: KindName, spec: unknown): object => ({
  apiVersion: "chaos-mesh.org/v1alpha1",
  kind,
  metadata: { name: "x", namespace: "shop" },
  spec,
});

function mistakes(kind: KindName, spec: unknown): Readonly<Record<string, string>> {
  const judged = kinds[kind].judge(object(kind, spec), around);
  return judged.ok ? {} : Object.fromEntries(judged.errors.map(({ path, message }) => [path, message]));
}

function accepted(
  kind: KindName,
  spec: unknown,
): { readonly spec: unknown; readonly unsupported: readonly string[]; readonly explanation: string } {
  const judged = kinds[kind].judge(object(kind, spec), around);
  assert.ok(judged.ok, JSON.stringify(judged));
  return { spec: judged.spec, unsupported: judged.unsupported.map(({ path }) => path), explanation: judged.explanation };
}

describe("judging a NetworkChaos", () => {
  it("fills the defaults of Chaos Mesh in", () => {
    const { spec } = accepted("NetworkChaos", { ...base, action: "delay", delay: { latency: "200ms" } });
    assert.deepEqual(spec, {
      action: "delay",
      mode: "all",
      selector: { namespaces: ["shop"], labelSelectors: { app: "web" } },
      direction: "to",
      delay: { latency: "200ms", jitter: "0ms", correlation: "0" },
    });
  });

  it("takes an omitted selector for all pods of its namespace, an empty direction for to, and cuts a device at @", () => {
    const { spec } = accepted("NetworkChaos", {
      mode: "one",
      action: "partition",
      direction: "",
      device: "eth0@if12",
      target: { mode: "all" },
    });
    assert.deepEqual(spec, {
      action: "partition",
      mode: "one",
      direction: "to",
      device: "eth0",
      selector: { namespaces: ["shop"] },
      target: { mode: "all", selector: { namespaces: ["shop"] } },
    });
  });

  const rows: readonly (readonly [what: string, spec: object, path: string, message: RegExp])[] = [
    [
      "a duration without a unit",
      { action: "delay", delay: { latency: "200" } },
      "spec.delay.latency",
      /"200" has no unit. Write a duration such as "200ms"/,
    ],
    ["a compound latency", { action: "delay", delay: { latency: "1s500ms" } }, "spec.delay.latency", /one number and one unit/],
    ["days", { action: "partition", duration: "2d" }, "spec.duration", /days are no unit of a duration. Write hours, such as "48h"/],
    ["a percent sign", { action: "loss", loss: { loss: "10%" } }, "spec.loss.loss", /leave the percent sign out. Write "10"/],
    ["more than all", { action: "loss", loss: { loss: "200" } }, "spec.loss.loss", /outside 0 to 100/],
    ["an unknown action", { action: "dealy" }, "spec.action", /none of netem, delay, .* Did you mean "delay"\?/],
    [
      "an unknown field",
      { action: "delay", delay: { latency: "1ms", jiter: "1ms" } },
      "spec.delay.jiter",
      /not known here. Did you mean "jitter"\?/,
    ],
    [
      "a number that lacks more than its quotes",
      { action: "delay", delay: { latency: 200 } },
      "spec.delay.latency",
      /200 is a number\. As a text, "200" has no unit\. Write a duration such as "200ms"/,
    ],
    ["a number where text belongs", { action: "loss", loss: { loss: 10 } }, "spec.loss.loss", /10 is a number. Write a text/],
    ["fixed without a value", { action: "partition", mode: "fixed" }, "spec.value", /is missing: mode fixed needs a whole number above 0/],
    [
      "a percentage that is none",
      { action: "partition", mode: "fixed-percent", value: "5%" },
      "spec.value",
      /"5%": mode fixed-percent needs a whole percentage/,
    ],
    ["a bad value of the target", { action: "partition", target: { mode: "fixed", value: "0" } }, "spec.target.value", /mode fixed needs/],
    ["from without a target", { action: "loss", loss: { loss: "1" }, direction: "from" }, "spec.direction", /"from" needs spec.target/],
    [
      "shaping what comes from outside",
      { action: "delay", direction: "both", externalTargets: ["1.1.1.1"], target: { mode: "all" } },
      "spec.direction",
      /does not go with externalTargets/,
    ],
    [
      "a label key that is none",
      { action: "partition", selector: { labelSelectors: { "a b": "c" } } },
      'spec.selector.labelSelectors["a b"]',
      /cannot be a key/,
    ],
    [
      "a foreign operator",
      { action: "partition", selector: { expressionSelectors: [{ key: "a", operator: "in", values: ["b"] }] } },
      "spec.selector.expressionSelectors[0].operator",
      /Did you mean "In"/,
    ],
    [
      "In without values",
      { action: "partition", selector: { expressionSelectors: [{ key: "a", operator: "In" }] } },
      "spec.selector.expressionSelectors[0].values",
      /needs at least one value/,
    ],
    [
      "an unknown field selector",
      { action: "partition", selector: { fieldSelectors: { "spec.node": "n" } } },
      'spec.selector.fieldSelectors["spec.node"]',
      /no field that pods can be selected by/,
    ],
    [
      "a field that can be nothing of the sort",
      { action: "partition", selector: { fieldSelectors: { "metadata.name": "a\nb" } } },
      'spec.selector.fieldSelectors["metadata.name"]',
      /"a\\nb" is nothing that metadata\.name can be/,
    ],
    [
      "an unknown phase",
      { action: "partition", selector: { podPhaseSelectors: ["!Runing"] } },
      "spec.selector.podPhaseSelectors[0]",
      /Did you mean "Running"/,
    ],
    ["an address that is none", { action: "partition", externalTargets: ["10.0.0"] }, "spec.externalTargets[0]", /no address/],
    ["a rate without a unit", { action: "bandwidth", bandwidth: { rate: "10", limit: 1, buffer: 1 } }, "spec.bandwidth.rate", /no rate/],
    [
      "a limit below one",
      { action: "bandwidth", bandwidth: { rate: "1mbit", limit: 0, buffer: 1 } },
      "spec.bandwidth.limit",
      /0 is below 1/,
    ],
  ];
  for (const [what, spec, path, message] of rows) {
    it(`refuses ${what} at ${path}`, () =>
      assert.match(mistakes("NetworkChaos", { ...base, ...spec })[path] ?? "no mistake there", message));
  }

  it("tells all mistakes at once, those of single fields and those across fields", () => {
    const found = mistakes("NetworkChaos", {
      ...base,
      mode: "fixed",
      action: "loss",
      loss: { loss: "x" },
      duration: "1d",
      direction: "from",
      extra: 1,
    });
    assert.deepEqual(Object.keys(found).toSorted(), ["spec.direction", "spec.duration", "spec.extra", "spec.loss.loss", "spec.value"]);
  });

  it("tells them with the places that the user wrote, however many entries of a list are wrong otherwise", () => {
    const expressionSelectors = [
      { key: "a b", operator: "In" },
      { key: "x", operator: "has" },
      { key: "c", operator: "In" },
      7,
      { key: "d", operator: "In" },
    ];
    const found = mistakes("NetworkChaos", { ...base, action: "partition", selector: { expressionSelectors } });
    const at = "spec.selector.expressionSelectors";
    assert.deepEqual(Object.keys(found).toSorted(), [
      `${at}[0].key`,
      `${at}[1].operator`,
      `${at}[2].values`,
      `${at}[3]`,
      `${at}[4].values`,
    ]);
  });

  it("says nothing of a rule that is only broken because something else was wrong", () => {
    const spec = { ...base, action: "loss", loss: { loss: "1" }, direction: "from", target: "web" };
    assert.deepEqual(Object.keys(mistakes("NetworkChaos", spec)), ["spec.target"]);
  });

  it("names each thing that cannot be carried out yet, and nothing else", () => {
    const spec = {
      ...base,
      action: "netem",
      device: "eth1",
      delay: { latency: "1ms", correlation: "5", reorder: { reorder: "1" } },
      loss: { loss: "1", correlation: "1" },
      duplicate: { duplicate: "1" },
      rate: { rate: "1mbit" },
      externalTargets: ["10.0.0.1", "10.0.0.0/8", "10.0.0.1:80", "db.example.com", "2001:db8::1"],
      remoteCluster: "west",
    };
    assert.deepEqual(accepted("NetworkChaos", spec).unsupported.toSorted(), ["spec.remoteCluster"]);
    assert.deepEqual(
      accepted("NetworkChaos", { ...base, action: "delay", device: "eth0", delay: { latency: "1ms", correlation: "0" } }).unsupported,
      [],
    );
    assert.deepEqual(accepted("NetworkChaos", { ...base, action: "delay" }).unsupported, ["spec.delay"]);
  });

  it("explains itself in one sentence", () => {
    const spec = {
      ...base,
      action: "netem",
      delay: { latency: "80ms", jitter: "10ms" },
      loss: { loss: "2" },
      direction: "both",
      target: { mode: "one" },
      duration: "5m",
    };
    assert.equal(
      accepted("NetworkChaos", spec).explanation,
      "Delays packets by 80ms ± 10ms and loses 2 % of the packets between all pods of shop with app=web and one pod of shop for 5m.",
    );
  });
});

describe("judging a PodChaos", () => {
  it("accepts pod-kill and counts the grace period from 0", () => {
    assert.deepEqual(accepted("PodChaos", { ...base, action: "pod-kill" }), {
      spec: { action: "pod-kill", mode: "all", gracePeriod: 0, selector: { namespaces: ["shop"], labelSelectors: { app: "web" } } },
      unsupported: [],
      explanation: "Kills all pods of shop with app=web.",
    });
  });

  it("wants to know which containers to kill", () => {
    assert.match(
      mistakes("PodChaos", { ...base, action: "container-kill" })["spec.containerNames"] ?? "",
      /container-kill needs to know which containers/,
    );
  });

  it("makes pods fail, with or without an end", () => {
    const { unsupported, explanation } = accepted("PodChaos", { ...base, action: "pod-failure" });
    assert.deepEqual(unsupported, []);
    assert.match(explanation, /^Runs a pause image in place of the containers of all pods of shop/);
  });

  it("refuses a negative grace period", () =>
    assert.match(mistakes("PodChaos", { ...base, action: "pod-kill", gracePeriod: -1 })["spec.gracePeriod"] ?? "", /-1 is below 0/));
});

describe("hostile input", () => {
  const hostile = [
    "; $(reboot)",
    "a\nb",
    "\u0000",
    "-o",
    "𝓭elay",
    "../../etc/passwd",
    "__proto__",
    "x".repeat(1 << 20),
    5,
    null,
    [],
    {},
    true,
    -1,
    Number.POSITIVE_INFINITY,
  ];
  const full = {
    ...base,
    value: "1",
    action: "netem",
    direction: "to",
    device: "eth0",
    targetDevice: "eth0",
    duration: "1m",
    remoteCluster: "r",
    externalTargets: ["10.0.0.1"],
    target: { mode: "all", value: "1", selector: { namespaces: ["a"] } },
    selector: {
      namespaces: ["a"],
      labelSelectors: { a: "b" },
      annotationSelectors: { a: "b" },
      fieldSelectors: { "metadata.name": "b" },
      nodes: ["n"],
      nodeSelectors: { a: "b" },
      podPhaseSelectors: ["Running"],
      pods: { a: ["b"] },
      expressionSelectors: [{ key: "a", operator: "In", values: ["b"] }],
    },
    delay: { latency: "1ms", jitter: "1ms", correlation: "0", reorder: { reorder: "1", correlation: "1", gap: 1 } },
    loss: { loss: "1", correlation: "1" },
    duplicate: { duplicate: "1", correlation: "1" },
    corrupt: { corrupt: "1", correlation: "1" },
    bandwidth: { rate: "1mbit", limit: 1, buffer: 1, peakrate: 1, minburst: 1 },
    rate: { rate: "1mbit" },
  };

  /** Every place of a value in the spec, each once replaced by something hostile. */
  function* variants(node: unknown, replacement: unknown): Generator {
    if (typeof node !== "object" || node === null) return;
    for (const key of Object.keys(node)) {
      const copy = structuredClone(node) as Record<string, unknown>;
      copy[key] = replacement;
      yield copy;
      for (const inner of variants((node as Record<string, unknown>)[key], replacement)) yield { ...structuredClone(node), [key]: inner };
    }
  }

  it("in any field is refused with short, one-line messages, or is harmless, and never takes long", () => {
    let tried = 0;
    for (const replacement of hostile) {
      for (const spec of variants(full, replacement)) {
        const before = process.cpuUsage();
        const judged = kinds.NetworkChaos.judge(object("NetworkChaos", spec), around);
        const { user, system } = process.cpuUsage(before);
        assert.ok(user + system < 250_000, "judging took too long");
        tried++;
        if (judged.ok) continue;
        for (const { path, message } of judged.errors) {
          assert.ok(path.length < 300 && message.length < 600, `${path.slice(0, 100)}: ${message.length}`);
          assert.ok(["\n", "\r", "\0"].every((character) => !`${path}${message}`.includes(character)));
        }
      }
    }
    assert.ok(tried > 500);
  });

  it("that is nested thousands of levels deep is refused, wherever it is", () => {
    let deep: unknown = "end";
    for (let level = 0; level < 50_000; level++) deep = level % 2 === 0 ? { a: deep } : [deep];
    for (const raw of [{ metadata: {}, spec: { ...base, action: deep } }, { metadata: { annotations: deep }, spec: {} }, { spec: deep }]) {
      const judged = kinds.PodChaos.judge(raw, around);
      assert.ok(!judged.ok);
      assert.match(judged.errors[0]?.message ?? "", /nested more than 100 levels deep/);
    }
  });

  it("cannot hide a requirement under __proto__, which would be left out without a word", () => {
    const labelSelectors: unknown = JSON.parse('{"app":"web","__proto__":"x"}');
    assert.deepEqual(mistakes("PodChaos", { ...base, action: "pod-kill", selector: { labelSelectors } }), {
      "spec.selector.labelSelectors.__proto__": "cannot be the name of anything. Leave it out.",
    });
  });

  it("of any shape gets an answer", () => {
    fc.assert(
      fc.property(fc.anything(), (spec) => {
        const judged = kinds.PodChaos.judge({ metadata: {}, spec }, around);
        assert.ok(judged.ok || judged.errors.length > 0);
      }),
    );
  });
});

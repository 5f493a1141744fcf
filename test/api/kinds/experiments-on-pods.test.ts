import assert from "node:assert/strict";
import { type KindName, kinds } from "../../../api/kinds/registry.ts";

const around = { namespace: "shop" };
const selector = { namespaces: ["shop"] };

function accepted(kind: KindName, spec: object): { readonly spec: unknown; readonly explanation: string } {
  const judged = kinds[kind].judge({ metadata: {}, spec: { mode: "all", ...spec } }, around);
  assert.ok(judged.ok, JSON.stringify(judged));
  return { spec: judged.spec, explanation: judged.explanation };
}

describe("defaults of Chaos Mesh", () => {
  const rows: readonly (readonly [kind: KindName, written: object, filled: object])[] = [
    ["IOChaos", { action: "fault", volumePath: "/d", errno: 5 }, { action: "fault", volumePath: "/d", errno: 5, percent: 100 }],
    ["IOChaos", { action: "fault", volumePath: "/d", errno: 5, percent: 0 }, { action: "fault", volumePath: "/d", errno: 5, percent: 0 }],
    [
      "IOChaos",
      { action: "attrOverride", volumePath: "/d", attr: { mtime: {} } },
      { action: "attrOverride", volumePath: "/d", percent: 100, attr: { mtime: { sec: 0, nsec: 0 } } },
    ],
    [
      "StressChaos",
      { stressors: { cpu: {}, memory: { workers: 1, size: "1GB" } } },
      { stressors: { cpu: { workers: 0 }, memory: { workers: 1, size: "1GB", oomScoreAdj: 0 } } },
    ],
    ["TimeChaos", { timeOffset: "-1h" }, { timeOffset: "-1h", clockIds: ["CLOCK_REALTIME"] }],
    ["TimeChaos", { timeOffset: "-1h", clockIds: [] }, { timeOffset: "-1h", clockIds: ["CLOCK_REALTIME"] }],
    ["DNSChaos", { action: "error" }, { action: "error" }],
    ["HTTPChaos", { target: "Request", port: 80, abort: true }, { target: "Request", port: 80, abort: true }],
    ["KernelChaos", {}, { failKernRequest: { failtype: 0 } }],
    ["KernelChaos", { failKernRequest: { times: 2 } }, { failKernRequest: { failtype: 0, times: 2 } }],
    ["JVMChaos", { action: "gc" }, { action: "gc", port: 9277 }],
    ["JVMChaos", { action: "gc", port: 0 }, { action: "gc", port: 9277 }],
    [
      "BlockChaos",
      { action: "delay", volumeName: "data", delay: { latency: "1ms", jitter: "" } },
      { action: "delay", volumeName: "data", delay: { latency: "1ms", jitter: "0ms", correlation: "0" } },
    ],
  ];
  for (const [kind, written, filled] of rows) {
    it(`are filled into a ${kind} with ${JSON.stringify(written)}`, () =>
      assert.deepEqual(accepted(kind, written).spec, { mode: "all", selector, ...filled }));
  }

  it("that depend on the second of the creation are left out: a rule of JVMChaos has no name unless it is given one", () =>
    assert.ok(!("name" in (accepted("JVMChaos", { action: "gc" }).spec as object))));

  it("let base64 be broken over lines", () => {
    const { spec } = accepted("HTTPChaos", { target: "Response", port: 80, replace: { body: "eyJh\r\nIjoxfQ==\n" } });
    assert.deepEqual((spec as { readonly replace: object }).replace, { body: "eyJhIjoxfQ==" });
  });
});

describe("one sentence about", () => {
  const rows: readonly (readonly [kind: KindName, spec: object, sentence: string])[] = [
    [
      "IOChaos",
      {
        action: "latency",
        volumePath: "/d",
        path: "/d/**",
        methods: ["read", "write"],
        percent: 40,
        delay: "1s",
        containerNames: ["db"],
        duration: "2m",
      },
      'Delays 40 % of read and write operations on "/d/**" by 1s in container db of all pods of shop for 2m.',
    ],
    [
      "IOChaos",
      { action: "fault", volumePath: "/d", errno: 99 },
      'Fails all file operations on "/d" with error 99 in the first container of all pods of shop.',
    ],
    [
      "IOChaos",
      { action: "attrOverride", volumePath: "/d", attr: { perm: 72, uid: 0 }, percent: 50 },
      'Reports another perm and uid in 50 % of all look-ups of "/d" in the first container of all pods of shop.',
    ],
    [
      "IOChaos",
      { action: "mistake", volumePath: "/d", mistake: { filling: "zero", maxOccurrences: 1, maxLength: 1 } },
      'Puts zeros into the data of all file operations on "/d" in the first container of all pods of shop.',
    ],
    [
      "StressChaos",
      { stressors: { cpu: { workers: 2, load: 70 }, memory: { workers: 1, size: "25%" } }, containerNames: ["a", "b"] },
      "Keeps 2 processors busy at 70 % and takes 25% of memory in containers a and b of all pods of shop.",
    ],
    ["StressChaos", { stressors: { cpu: { workers: 0 } } }, "Does nothing in the first container of all pods of shop."],
    ["StressChaos", { stressngStressors: "--cpu 2" }, 'Runs stress-ng with "--cpu 2" in the first container of all pods of shop.'],
    [
      "TimeChaos",
      { timeOffset: "-24h", clockIds: ["CLOCK_REALTIME", "CLOCK_MONOTONIC"], duration: "5m" },
      "Shifts CLOCK_REALTIME and CLOCK_MONOTONIC by -24h in the first container of all pods of shop for 5m.",
    ],
    ["TimeChaos", { timeOffset: "1h", duration: "soon" }, "Shifts CLOCK_REALTIME by 1h in the first container of all pods of shop."],
    ["DNSChaos", { action: "error" }, "Fails look-ups of every name by all pods of shop."],
    [
      "DNSChaos",
      { action: "random", patterns: ["a.example", "b.example", "c.example", "d.example"], duration: "1m" },
      "Answers look-ups of a.example, b.example, c.example and 1 more with random addresses for all pods of shop for 1m.",
    ],
    [
      "HTTPChaos",
      { target: "Response", port: 80, path: "/v1/*", method: "POST", code: 200, delay: "1s", replace: { code: 503, body: "e30=" } },
      'Faults "POST" responses with path "/v1/*" and code 200 on port 80 of all pods of shop: delays them by 1s and replaces their code and body.',
    ],
    ["HTTPChaos", { target: "Request", port: 80, code: 200, abort: true }, "Faults requests on port 80 of all pods of shop: aborts them."],
    [
      "KernelChaos",
      { failKernRequest: { failtype: 2, callchain: [{ funcname: "ext4_mount" }], probability: 50, times: 3 } },
      'Fails 50 % of the block I/O under "ext4_mount", at most 3 times, for the first container of all pods of shop.',
    ],
    [
      "JVMChaos",
      { action: "latency", class: "com.example.Pricing", method: "quote", latency: 1500 },
      'Delays "com.example.Pricing.quote" by 1500 ms in the Java process of the first container of all pods of shop.',
    ],
    ["JVMChaos", { action: "stress", cpuCount: 2 }, "Keeps 2 threads busy in the Java process of the first container of all pods of shop."],
    [
      "JVMChaos",
      { action: "mysql", mysqlConnectorVersion: "8", sqlType: "select", latency: 10 },
      "Delays select statements by 10 ms in the Java process of the first container of all pods of shop.",
    ],
    [
      "BlockChaos",
      { action: "delay", volumeName: "data", delay: { latency: "100ms", jitter: "20ms" } },
      "Delays the block device of volume data by 100ms ± 20ms for the first container of all pods of shop.",
    ],
  ];
  for (const [kind, spec, sentence] of rows) it(`${kind}: ${sentence}`, () => assert.equal(accepted(kind, spec).explanation, sentence));
});

describe("a TLS Secret of HTTPChaos", () => {
  it("is something that its author must be allowed to read", () => {
    const tls = { secretName: "certificate", secretNamespace: "vault", certName: "tls.crt", keyName: "tls.key" };
    const judged = kinds.HTTPChaos.judge({ metadata: {}, spec: { mode: "all", target: "Request", port: 443, abort: true, tls } }, around);
    assert.ok(judged.ok);
    assert.deepEqual(judged.touches, [
      { on: "namespace", namespace: "shop", path: "spec.selector.namespaces[0]" },
      { on: "secret", namespace: "vault", name: "certificate", path: "spec.tls.secretName" },
    ]);
  });
});

import assert from "node:assert/strict";
import { type KindName, kinds } from "../../../api/kinds/registry.ts";

function ineffective(kind: KindName, spec: object): Readonly<Record<string, string>> {
  const judged = kinds[kind].judge({ metadata: {}, spec }, { namespace: "shop" });
  assert.ok(judged.ok, JSON.stringify(judged));
  return Object.fromEntries(judged.ineffective.map(({ path, message }) => [path, message]));
}

const all = { mode: "all" };
const fault = { ...all, action: "fault", volumePath: "/data", errno: 5 };
const http = { ...all, port: 80 };

describe("what nothing comes of", () => {
  const rows: readonly (readonly [kind: KindName, spec: object, found: Readonly<Record<string, string>>])[] = [
    ["IOChaos", fault, {}],
    ["IOChaos", { ...fault, delay: "", attr: {}, methods: ["read"] }, {}],
    [
      "IOChaos",
      { ...fault, delay: "1s", attr: { perm: 1 }, mistake: { filling: "zero" } },
      {
        "spec.delay": "is not used by the action fault.",
        "spec.attr": "is not used by the action fault.",
        "spec.mistake": "is not used by the action fault.",
      },
    ],
    [
      "IOChaos",
      { ...all, action: "attrOverride", volumePath: "/data", attr: { perm: 1 }, methods: ["read"], errno: 5 },
      { "spec.errno": "is not used by the action attrOverride.", "spec.methods": "is not used by the action attrOverride." },
    ],
    [
      "IOChaos",
      { ...fault, methods: ["read", "Release", "setlk"], path: "/data", volumePath: "/data/", percent: 0 },
      {
        "spec.methods[1]": "Release is never faulted, as nobody waits for its answer.",
        "spec.methods[2]": "setlk is never faulted, as the kernel answers it without asking the volume.",
        "spec.path": 'matches the folder alone, and nothing in it. Write "/data/**" for that.',
        "spec.percent": "is 0, so that no operation is faulted.",
      },
    ],
    [
      "HTTPChaos",
      { ...http, target: "Request", abort: true, code: 200, response_headers: { A: "b" }, replace: { code: 500 } },
      {
        "spec.code": "is for responses alone, and the target is Request.",
        "spec.response_headers": "is for responses alone, and the target is Request.",
        "spec.replace.code": "is for responses alone, and the target is Request.",
        "spec.replace": "has no effect on messages that are aborted before.",
      },
    ],
    [
      "HTTPChaos",
      { ...http, target: "Response", replace: { path: "/x", method: "PUT", queries: { a: "b" } }, patch: { queries: [["a", "b"]] } },
      {
        "spec.replace.path": "is for requests alone, and the target is Response.",
        "spec.replace.method": "is for requests alone, and the target is Response.",
        "spec.replace.queries": "is for requests alone, and the target is Response.",
        "spec.patch.queries": "is for requests alone, and the target is Response.",
      },
    ],
    ["HTTPChaos", { ...http, target: "Request", patch: {} }, { "spec.patch": "is empty, so that nothing is changed." }],
    ["DNSChaos", { ...all, action: "error", containerNames: [] }, {}],
    [
      "DNSChaos",
      { ...all, action: "error", containerNames: ["app"] },
      { "spec.containerNames": "narrows nothing down: the containers of a pod share its look-ups, and all of them are faulted." },
    ],
    ["StressChaos", { ...all, stressors: { cpu: { workers: -1 } } }, {}],
    [
      "StressChaos",
      { ...all, stressors: { cpu: {}, memory: {} } },
      { "spec.stressors": "has no workers, so that nothing is stressed. Write one such as workers: 1." },
    ],
    [
      "StressChaos",
      { ...all, stressors: { cpu: { workers: 1 } }, stressngStressors: "--cpu 1" },
      { "spec.stressors": "is not used beside stressngStressors, which win." },
    ],
    [
      "TimeChaos",
      { ...all, timeOffset: "0s", duration: "5d" },
      {
        "spec.timeOffset": "shifts nothing.",
        "spec.duration":
          '"5d": days are no unit of a duration. Write hours, such as "120h". As it stands, the experiment lasts until it is deleted.',
      },
    ],
    ["JVMChaos", { ...all, action: "gc", class: "", latency: 0, cpuCount: 0 }, {}],
    [
      "JVMChaos",
      { ...all, action: "gc", class: "C", latency: 1, sqlType: "x" },
      {
        "spec.class": "is not used by the action gc.",
        "spec.latency": "is not used by the action gc.",
        "spec.sqlType": "is not used by the action gc.",
      },
    ],
    ["PodChaos", { ...all, action: "pod-kill", gracePeriod: 5, duration: "" }, {}],
    [
      "PodChaos",
      { ...all, action: "pod-kill", containerNames: ["app"], duration: "30s" },
      { "spec.containerNames": "is not used by the action pod-kill.", "spec.duration": "has no effect on an act that is over at once." },
    ],
    [
      "NetworkChaos",
      { ...all, action: "bandwidth", bandwidth: { rate: "1mbit", limit: 1, buffer: 1 }, delay: { latency: "1s" } },
      { "spec.delay": "is not used by the action bandwidth." },
    ],
    [
      "NetworkChaos",
      {
        mode: "one",
        value: "1",
        action: "partition",
        target: { mode: "all", value: "2", selector: { pods: { shop: ["a"] }, nodes: ["n"] } },
      },
      {
        "spec.value": "is not used by the mode one.",
        "spec.target.value": "is not used by the mode all.",
        "spec.target.selector.nodes": "is not used: selector.pods has the names, whatever else is there.",
      },
    ],
    [
      "PhysicalMachineChaos",
      {
        mode: "all",
        value: "2",
        action: "clock",
        selector: { namespaces: ["ops"], labelSelectors: { rack: "a1" }, physicalMachines: { ops: ["rack-a1-07"] } },
        clock: { pid: 42, "time-offset": "-1h" },
        "disk-fill": { path: "/data" },
        process: {},
      },
      {
        "spec.value": "is not used by the mode all.",
        "spec.selector.labelSelectors": "is not used: selector.physicalMachines has the names, whatever else is there.",
        "spec.disk-fill": "is not used by the action clock.",
      },
    ],
    [
      "AWSChaos",
      { action: "ec2-restart", ec2Instance: "i-1", volumeID: "vol-1", duration: "5m" },
      { "spec.volumeID": "is not used by the action ec2-restart.", "spec.duration": "has no effect on an act that is over at once." },
    ],
    [
      "Schedule",
      {
        schedule: "@daily",
        type: "PodChaos",
        historyLimit: 1,
        concurrencyPolicy: "Forbid",
        podChaos: { ...all, action: "pod-kill", duration: "5m" },
      },
      { "spec.podChaos.duration": "has no effect on an act that is over at once." },
    ],
  ];
  for (const [kind, spec, found] of rows)
    it(`is told of a ${kind} with ${JSON.stringify(spec)}`, () => assert.deepEqual(ineffective(kind, spec), found));
});

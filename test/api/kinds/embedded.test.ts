import assert from "node:assert/strict";
import { planCrd } from "../../../api/crd.ts";
import { isJsonObject, type JsonObject } from "../../../api/json.ts";
import { embeddedKeys } from "../../../api/kinds/embedded-experiments.ts";
import { type KindName, kinds, schemaOf } from "../../../api/kinds/registry.ts";
import { actsOf } from "../../../api/policy/acts.ts";
import { reachOfObject } from "../../../api/reach.ts";

const around = { namespace: "shop" };
const kill = { action: "pod-kill", mode: "one" };
const delay = { action: "delay", mode: "all", selector: { namespaces: ["data"] }, delay: { latency: "200ms" } };

const workflow = (...templates: readonly JsonObject[]): JsonObject => ({ spec: { entry: templates[0]?.["name"], templates } });
const often = {
  name: "often",
  templateType: "Schedule",
  deadline: "5m",
  schedule: { schedule: "@every 30s", type: "PodChaos", podChaos: kill },
};
const slow = { name: "slow", templateType: "NetworkChaos", deadline: "3m", networkChaos: delay };

function judged(kind: KindName, object: JsonObject) {
  const found = kinds[kind].judge(object, around);
  assert.ok(found.ok, JSON.stringify(found));
  return found;
}

/** What stands at a place of an object; fails where there is nothing. */
function at(object: unknown, ...place: readonly (string | number)[]): unknown {
  const found = place.reduce<unknown>(
    (value, key) => (typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined),
    object,
  );
  assert.notEqual(found, undefined, `nothing at ${place.join(".")}`);
  return found;
}

describe("specs inside of others", () => {
  it("have the members of Chaos Mesh", () => {
    assert.deepEqual(
      embeddedKeys.map(({ key }) => key),
      [
        "awsChaos",
        "azureChaos",
        "blockChaos",
        "dnsChaos",
        "gcpChaos",
        "httpChaos",
        "ioChaos",
        "jvmChaos",
        "kernelChaos",
        "networkChaos",
        "physicalmachineChaos",
        "podChaos",
        "stressChaos",
        "timeChaos",
      ],
    );
  });

  it("are completed by their kinds, to any depth, with the namespace of the object around", () => {
    const { object } = judged("Workflow", workflow(often, slow));
    const inside = at(object, "spec", "templates", 0, "schedule");
    assert.deepEqual(at(inside, "podChaos"), { ...kill, gracePeriod: 0, selector: { namespaces: ["shop"] } });
    assert.equal(at(inside, "concurrencyPolicy"), "Forbid");
    assert.deepEqual(at(object, "spec", "templates", 1, "networkChaos", "delay"), { latency: "200ms", jitter: "0ms", correlation: "0" });
    const scheduled = judged("Schedule", { spec: { schedule: "@daily", type: "Workflow", workflow: workflow(often)["spec"] } });
    assert.deepEqual(at(scheduled.object, "spec", "workflow", "templates", 0, "schedule", "podChaos", "selector"), {
      namespaces: ["shop"],
    });
  });

  it("leave what the user wrote alone", () => {
    const written = workflow(often, slow);
    const before = structuredClone(written);
    judged("Workflow", written);
    assert.deepEqual(written, before);
  });

  it("are named with their places, those that count and no others", () => {
    const { embedded } = judged("Workflow", workflow(slow, often, { name: "rest", templateType: "Suspend", deadline: "1s" }));
    assert.deepEqual(
      embedded.map(({ kind, path, place }) => [kind, path, place]),
      [
        ["NetworkChaos", "spec.templates[0].networkChaos", ["templates", 0, "networkChaos"]],
        ["Schedule", "spec.templates[1].schedule", ["templates", 1, "schedule"]],
      ],
    );
    const other = { spec: { schedule: "@daily", type: "PodChaos", podChaos: kill, timeChaos: { nonsense: true } } };
    assert.deepEqual(
      judged("Schedule", other).embedded.map(({ path }) => path),
      ["spec.podChaos"],
    );
  });

  it("say with their own paths what cannot be carried out yet", () => {
    const { unsupported } = judged("Workflow", workflow({ ...slow, networkChaos: { ...delay, remoteCluster: "west" } }));
    assert.deepEqual(
      unsupported.map(({ path }) => path),
      ["kind", "spec.templates[0].networkChaos.remoteCluster"],
    );
  });

  it("need the rights of what they are", () => {
    const task = { name: "task", templateType: "Task", task: { container: { name: "main", image: "busybox" } } };
    const rights = reachOfObject("Workflow", workflow(slow, often, task), around);
    assert.deepEqual(
      rights.map(({ verb, resource, namespace, path }) => `${verb} ${resource} ${namespace} ${path}`),
      [
        "create workflows shop metadata.namespace",
        "create pods shop spec.templates[2].task",
        "create networkchaos shop spec.templates[0].networkChaos",
        "create networkchaos data spec.templates[0].networkChaos.selector.namespaces[0]",
        "create schedules shop spec.templates[1].schedule",
        "create podchaos shop spec.templates[1].schedule.podChaos",
      ],
    );
  });

  it("last as long as the deadline of their template, wherever the Workflow stands", () => {
    const spec = { schedule: "@daily", type: "Workflow", workflow: workflow(slow, often)["spec"] };
    const acts = actsOf("Schedule", { spec }, around).map(({ kind, path, durationMs, durationPath }) => ({
      kind,
      path,
      durationMs,
      durationPath,
    }));
    assert.deepEqual(acts, [
      {
        kind: "NetworkChaos",
        path: "spec.workflow.templates[0].networkChaos",
        durationMs: 180_000,
        durationPath: "spec.workflow.templates[0].deadline",
      },
      {
        kind: "PodChaos",
        path: "spec.workflow.templates[1].schedule.podChaos",
        durationMs: undefined,
        durationPath: "spec.workflow.templates[1].schedule.podChaos.duration",
      },
    ]);
  });

  it("are judged although the spec around them has mistakes of its own", () => {
    const found = kinds.Schedule.judge(
      { spec: { schedule: "never", type: "PodChaos", historyLimit: 0, podChaos: { ...kill, action: "pod-kil" } } },
      around,
    );
    assert.deepEqual(found.ok ? [] : found.errors.map(({ path }) => path).toSorted(), [
      "spec.historyLimit",
      "spec.podChaos.action",
      "spec.schedule",
    ]);
  });

  it("do not nest without an end: a Schedule in a Workflow makes no Workflows, and nobody looks further", () => {
    let spec: JsonObject = { schedule: "@daily", type: "PodChaos", podChaos: kill };
    for (let depth = 0; depth < 10; depth++)
      spec = { schedule: "@daily", type: "Workflow", workflow: workflow({ ...often, schedule: spec })["spec"] };
    const found = kinds.Schedule.judge({ spec }, around);
    assert.deepEqual(found.ok ? [] : found.errors.map(({ path }) => path), ["spec.workflow.templates[0].schedule.type"]);
  });
});

describe("the schema of an embedded spec", () => {
  const specOf = (kind: KindName): unknown =>
    at(planCrd(kinds[kind], schemaOf), "spec", "versions", 0, "schema", "openAPIV3Schema", "properties", "spec");

  it("has the types, choices, defaults and limits of numbers of its kind, without texts, lengths and rules", () => {
    const bare = at(specOf("Schedule"), "properties", "networkChaos", "properties");
    const own = at(specOf("NetworkChaos"), "properties");
    assert.deepEqual(Object.keys(bare as object), Object.keys(own as object));
    assert.deepEqual(at(bare, "direction"), { default: "to", type: "string", enum: ["to", "from", "both"] });
    assert.deepEqual(at(bare, "delay", "properties", "latency", "pattern"), at(own, "delay", "properties", "latency", "pattern"));
    assert.equal(at(bare, "bandwidth", "properties", "limit", "minimum"), 1);
    const words = new Set<string>();
    const collect = (node: unknown): void => {
      if (!isJsonObject(node)) return;
      for (const key of Object.keys(node)) words.add(key);
      for (const member of Object.values(node["properties"] ?? {})) collect(member);
      for (const key of ["items", "additionalProperties"]) collect(node[key]);
    };
    for (const member of Object.values(bare as object)) collect(member);
    for (const word of ["description", "maxLength", "maxItems", "maxProperties", "x-kubernetes-validations", "x-squall-embeds"])
      assert.ok(!words.has(word), word);
  });

  it("goes as deep as a Schedule in a Workflow in a Schedule, and no deeper", () => {
    const inner = at(
      specOf("Schedule"),
      "properties",
      "workflow",
      "properties",
      "templates",
      "items",
      "properties",
      "schedule",
      "properties",
    );
    assert.ok(isJsonObject(inner) && "podChaos" in inner && !("workflow" in inner));
  });
});

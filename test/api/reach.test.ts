import assert from "node:assert/strict";
import { touchPods } from "../../api/blocks/selector.ts";
import type { KindName } from "../../api/kinds/registry.ts";
import { describeRight, reachOfObject, suggestQuestion } from "../../api/reach.ts";

const delay = { action: "delay", mode: "all", delay: { latency: "200ms" } };

/** `spec.selector.namespaces[0]: create networkchaos.chaos-mesh.org in namespace shop` for each right. */
const reach = (kind: KindName, spec: object, namespace = "shop"): readonly string[] =>
  reachOfObject(kind, { spec }, { namespace }).map((right) => `${right.path}: ${describeRight(right)}`);

describe("reachOf", () => {
  it("is the own namespace alone for a selector that names none", () =>
    assert.deepEqual(reach("NetworkChaos", delay), ["metadata.namespace: create networkchaos.chaos-mesh.org in namespace shop"]));

  it("is every namespace of the selector, by list and by name of pods, each once", () => {
    const selector = { namespaces: ["bank", "shop", "bank"], pods: { "data-1": ["db-0"], bank: ["till"] } };
    assert.deepEqual(reach("PodChaos", { action: "pod-kill", mode: "one", selector }), [
      "metadata.namespace: create podchaos.chaos-mesh.org in namespace shop",
      "spec.selector.namespaces[0]: create podchaos.chaos-mesh.org in namespace bank",
      "spec.selector.pods.data-1: create podchaos.chaos-mesh.org in namespace data-1",
    ]);
  });

  it("counts the other side of a NetworkChaos", () => {
    const target = { mode: "all", selector: { namespaces: ["bank"] } };
    assert.deepEqual(reach("NetworkChaos", { ...delay, target }).slice(1), [
      "spec.target.selector.namespaces[0]: create networkchaos.chaos-mesh.org in namespace bank",
    ]);
  });

  it("takes a remote cluster for a thing to be used", () => {
    const right =
      reachOfObject("NetworkChaos", { spec: { ...delay, remoteCluster: "west" } }, { namespace: "shop" }).at(-1) ?? assert.fail();
    assert.equal(`${right.path}: ${describeRight(right)}`, "spec.remoteCluster: use remoteclusters.chaos-mesh.org west");
    assert.equal(suggestQuestion(right), " Try: kubectl auth can-i use remoteclusters.chaos-mesh.org/west");
  });

  it("is the Secret that a cloud or a certificate needs, and the whole cluster where the cluster's own account is used", () => {
    const stop = { action: "ec2-stop", awsRegion: "eu-west-1", ec2Instance: "i-1" };
    assert.deepEqual(reach("AWSChaos", { ...stop, secretName: "aws" }).slice(1), ["spec.secretName: get secrets aws in namespace shop"]);
    assert.deepEqual(reach("AWSChaos", stop).slice(1), ["spec.secretName: create awschaos.chaos-mesh.org in all namespaces"]);
    const tls = { secretName: "tls", secretNamespace: "bank", certName: "c", keyName: "k" };
    const http = { target: "Request", port: 443, abort: true, mode: "all", tls };
    assert.deepEqual(reach("HTTPChaos", http).slice(1), ["spec.tls.secretName: get secrets tls in namespace bank"]);
  });

  it("is the namespaces of machines, and the whole cluster where none is named or an address is given", () => {
    const stress = { action: "stress-cpu", mode: "all", "stress-cpu": { load: 50, workers: 2 } };
    assert.deepEqual(reach("PhysicalMachineChaos", { ...stress, selector: { physicalMachines: { rack: ["m-1"] } } }).slice(1), [
      "spec.selector.physicalMachines.rack: create physicalmachinechaos.chaos-mesh.org in namespace rack",
    ]);
    const everywhere = "create physicalmachinechaos.chaos-mesh.org in all namespaces";
    assert.deepEqual(reach("PhysicalMachineChaos", { ...stress, selector: { labelSelectors: { rack: "a" } } }).slice(1), [
      `spec.selector: ${everywhere}`,
    ]);
    assert.deepEqual(reach("PhysicalMachineChaos", { ...stress, address: ["10.0.0.9:31767"] }).slice(1), [`spec.address: ${everywhere}`]);
  });

  const kill = { action: "pod-kill", mode: "one", selector: { namespaces: ["bank"] } };
  it("is what a Schedule makes, as if it stood there by itself, with the path as written", () => {
    const hourly = { schedule: "@hourly", type: "PodChaos", podChaos: kill };
    assert.deepEqual(reach("Schedule", hourly), [
      "metadata.namespace: create schedules.chaos-mesh.org in namespace shop",
      "spec.podChaos: create podchaos.chaos-mesh.org in namespace shop",
      "spec.podChaos.selector.namespaces[0]: create podchaos.chaos-mesh.org in namespace bank",
    ]);
    const { selector: _, ...own } = kill;
    assert.deepEqual(reach("Schedule", { ...hourly, podChaos: own }).slice(1), [
      "spec.podChaos: create podchaos.chaos-mesh.org in namespace shop",
    ]);
  });

  it("is everything that the templates of a Workflow run, at any depth", () => {
    const probe = { http: { url: "http://cart/", criteria: { statusCode: "200" } } };
    const workflow = {
      entry: "all",
      templates: [
        { name: "all", templateType: "Serial", children: ["cut", "often", "job", "probe"] },
        {
          name: "cut",
          templateType: "NetworkChaos",
          deadline: "1m",
          networkChaos: { ...delay, target: { mode: "all", selector: { namespaces: ["data"] } } },
        },
        { name: "often", templateType: "Schedule", deadline: "1m", schedule: { schedule: "@hourly", type: "PodChaos", podChaos: kill } },
        { name: "job", templateType: "Task", task: { container: { name: "job", image: "job" } } },
        { name: "probe", templateType: "StatusCheck", statusCheck: probe },
      ],
    };
    const expected = [
      "spec.templates[3].task: create pods in namespace shop",
      "spec.templates[1].networkChaos: create networkchaos.chaos-mesh.org in namespace shop",
      "spec.templates[1].networkChaos.target.selector.namespaces[0]: create networkchaos.chaos-mesh.org in namespace data",
      "spec.templates[2].schedule: create schedules.chaos-mesh.org in namespace shop",
      "spec.templates[2].schedule.podChaos: create podchaos.chaos-mesh.org in namespace shop",
      "spec.templates[2].schedule.podChaos.selector.namespaces[0]: create podchaos.chaos-mesh.org in namespace bank",
      "spec.templates[4].statusCheck: create statuschecks.chaos-mesh.org in namespace shop",
    ];
    assert.deepEqual(reach("Workflow", workflow), ["metadata.namespace: create workflows.chaos-mesh.org in namespace shop", ...expected]);
    assert.deepEqual(reach("Schedule", { schedule: "@hourly", type: "Workflow", workflow }), [
      "metadata.namespace: create schedules.chaos-mesh.org in namespace shop",
      "spec.workflow: create workflows.chaos-mesh.org in namespace shop",
      ...expected
        .map((line) => line.replace(/^spec\./, "spec.workflow."))
        // needed by the Schedule itself already
        .filter((line) => !line.endsWith("create schedules.chaos-mesh.org in namespace shop")),
    ]);
  });

  it("is the pod of a node that the controller makes, and not the node", () => {
    const node = { templateName: "job", workflowName: "drill", type: "Task", startTime: "2030-01-01T00:00:00Z" };
    assert.deepEqual(reach("WorkflowNode", { ...node, task: { container: { name: "job", image: "job" } } }), [
      "spec.task: create pods in namespace shop",
    ]);
  });

  it("is put into words that forge no line and no command", () => {
    const right = reachOfObject("PodChaos", { spec: { action: "pod-kill", mode: "one" } }, { namespace: "shop" }).at(-1) ?? assert.fail();
    const hostile = { ...right, namespace: "x\n  $(reboot)" };
    assert.equal(describeRight(hostile), 'create podchaos.chaos-mesh.org in namespace "x\\n  $(reboot)"');
    assert.equal(suggestQuestion(hostile), "");
    assert.equal(suggestQuestion({ ...right, namespace: "shop" }, "$(reboot)"), "");
    assert.equal(
      suggestQuestion({ ...right, namespace: "shop" }, "alice"),
      " Try: kubectl auth can-i create podchaos.chaos-mesh.org -n shop --as=alice",
    );
    assert.match(suggestQuestion({ ...right, namespace: undefined }), / --all-namespaces$/);
  });

  it("is not asked about what is wrong", () =>
    assert.throws(() => reachOfObject("NetworkChaos", { spec: {} }, { namespace: "shop" }), /before it was found right/));
});

describe("touchPods", () => {
  it("is the whole cluster where no namespace is named and none was filled in", () => {
    assert.deepEqual(touchPods({ selector: { labelSelectors: { app: "web" } } }, "spec.target"), [
      { on: "cluster", path: "spec.target.selector" },
    ]);
    assert.deepEqual(touchPods({ selector: { namespaces: [], pods: {} } }), [{ on: "cluster", path: "spec.selector" }]);
  });
});

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { renderAuthor } from "../../api/author.ts";
import { systemClock } from "../../common/clock.ts";
import { silentLog } from "../../common/log.ts";
import { FINALIZER, ports } from "../../common/names.ts";
import type { ControllerConfig } from "../../controller/config.ts";
import { runController, type Controller } from "../../controller/run.ts";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { isKubeError } from "../../kube/errors.ts";
import { experimentResource } from "../../kube/experiments.ts";
import {
  clusterRoleBindings,
  clusterRoles,
  configMaps,
  deployments,
  leases,
  namespaces,
  pods,
  secrets,
  serviceAccounts,
} from "../../kube/resources.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import type { Kubectl } from "../cluster/support/kubectl.ts";
import { startTestApiServer, type TestApiServer } from "../support/api-server.ts";
import { adminKubectl, controllerKubeconfig, freePort, installManifests } from "./support/installation.ts";

const SHOP = "uninstall-shop";
const author = renderAuthor({ username: "admin", groups: ["system:masters"], extra: {} });
const networkChaos = experimentResource("NetworkChaos");
const SILENT = "127.3.0.1";
const own = { namespace: "squall-system", name: "squall-controller" };

/** What throws meanwhile is not there yet. */
const patience = { timeoutMs: 30_000, mayFail: true };

describe("uninstalling by kubectl delete -k, at a real API server", function () {
  this.timeout(400_000);
  let api: TestApiServer;
  let kube: KubeConnection;
  let kubectl: Kubectl;
  const running: { readonly controller: Controller; readonly kube: KubeConnection }[] = [];

  const connections = new Set<Socket>();
  const silent = createServer((socket) => {
    connections.add(socket);
    socket.on("error", () => undefined).once("close", () => connections.delete(socket));
  });

  before(async () => {
    await once(silent.listen(ports.sidecar, SILENT), "listening");
    api = await startTestApiServer();
    kube = connectKube({ process: "test", version: "0", kubeconfig: api.kubeconfig });
    kubectl = await adminKubectl(api);
    await kube.create(namespaces, { metadata: { name: SHOP, labels: { "squall.dev/inject": "enabled" } } });
  });
  afterEach(async () => {
    await stopControllers();
  });
  after(async () => {
    silent.close();
    for (const socket of connections) socket.destroy();
    await kube.close();
    await api.close();
  });

  /** Without the webhooks, which nobody serves here. */
  async function install(): Promise<void> {
    await installManifests(kubectl);
    await kubectl(["delete", "mutatingwebhookconfigurations,validatingwebhookconfigurations", "squall-webhook"]);
    // The garbage collector watches every kind, and does not run here. A kind that nobody ever asked for takes the API server minutes to
    // delete: https://github.com/operator-framework/operator-controller/issues/1437.
    const names = (await kubectl(["get", "crds", "-o", "jsonpath={.items[*].metadata.name}"])).split(" ").filter((name) => name !== "");
    await waitUntil("all kinds are served", () => kubectl(["get", names.join(","), "-A"]).then(() => true), patience);
  }

  /** A replica with the rights of its pod. */
  async function startController(name: string): Promise<void> {
    const connection = connectKube({ process: "controller", version: "0", kubeconfig: await controllerKubeconfig(api, kubectl) });
    const [enrolmentPort, metricsPort] = [await freePort(), await freePort()];
    const config: ControllerConfig = {
      podName: name,
      podUid: name,
      podIps: ["10.244.0.9"],
      enrolmentPort,
      metricsPort,
      workers: 4,
      pauseImage: "squall:0.1.0",
      logLevel: "info",
    };
    const controller = await runController(config, { kube: connection, clock: systemClock, log: silentLog });
    running.push({ controller, kube: connection });
  }
  async function stopControllers(): Promise<void> {
    for (const { controller, kube: connection } of running.splice(0)) {
      await controller.close();
      await connection.close();
    }
  }
  const isHeld = (): Promise<boolean> =>
    kube.get(serviceAccounts, own).then(({ metadata }) => metadata.finalizers?.includes("squall.dev/uninstall") ?? false);

  async function makeExperiment(name: string, spec: object = {}, annotations: object = {}): Promise<void> {
    await kube.create(networkChaos, {
      metadata: { namespace: SHOP, name, finalizers: [FINALIZER], annotations: { "squall.dev/author": author, ...annotations } },
      spec: { action: "partition", mode: "all", selector: { namespaces: [SHOP], labelSelectors: { app: name } }, ...spec },
    });
  }

  /** It runs, as far as the API server knows, with a sidecar at an address where connections are taken and nothing is said. */
  async function makePodThatNobodyReaches(name: string): Promise<void> {
    const image = { image: "none" };
    await kube.create(pods, {
      metadata: { namespace: SHOP, name, labels: { app: name, "squall.dev/inject": "enabled" } },
      spec: {
        nodeName: "node",
        initContainers: [{ ...image, name: "squall-sidecar", restartPolicy: "Always" }],
        containers: [{ ...image, name: "app" }],
      },
    });
    const status = { phase: "Running", podIP: SILENT, podIPs: [{ ip: SILENT }] };
    await kube.patch(pods, { namespace: SHOP, name }, { status }, { type: "merge", subresource: "status" });
  }

  /** By kubectl, to the end. Gives the seconds from the deletion of the controller's account until it was let go. */
  async function uninstall(): Promise<number> {
    // how long the API server takes for the kinds themselves is not our doing
    const command = ["delete", "-k", "manifests", "--ignore-not-found", "--timeout=200s"];
    const deleting = kubectl(command, { timeoutMs: 300_000 });
    const account = () => kube.get(serviceAccounts, own);
    await waitUntil(
      "its deletion began",
      () => account().then(({ metadata }) => metadata.deletionTimestamp !== undefined, isGone),
      patience,
    );
    const started = Date.now();
    await waitUntil("it is let go", () => account().then(() => false, isGone), { ...patience, timeoutMs: 100_000 });
    const seconds = (Date.now() - started) / 1000;
    assert.match(await deleting, /deployment\.apps "squall-controller" deleted/);
    return seconds;
  }
  const isGone = (error: unknown): boolean => isKubeError(error, "not-found");

  /** All that is Squall's, in words of kubectl. */
  async function whatIsLeft(): Promise<readonly string[]> {
    const kinds = [
      ["clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"],
      ["mutatingwebhookconfigurations,validatingwebhookconfigurations,customresourcedefinitions"],
      ["deployments,daemonsets,services,serviceaccounts,roles,rolebindings,secrets,configmaps,leases,endpointslices", "-A"],
      ["poddisruptionbudgets,networkpolicies", "-A"],
    ];
    const found: string[] = [];
    for (const [names = "", ...flags] of kinds) found.push(...(await kubectl(["get", names, "-o", "name", ...flags])).split("\n"));
    return found.filter((line) => /squall|chaos/.test(line));
  }

  it("ends in mid-experiment, leaves nothing behind, and can be installed again", async () => {
    await install();
    await startController("first");
    await startController("second");
    await waitUntil("everything is held", isHeld, patience);
    await waitUntil("the CA is in the shop", () => kube.get(configMaps, { namespace: SHOP, name: "squall-ca" }).then(() => true), patience);
    await kube.patch(
      namespaces,
      { name: SHOP },
      { metadata: { annotations: { "squall.dev/injection-verdict": "{}" } } },
      { type: "merge" },
    );
    for (let number = 0; number < 20; number++) await makeExperiment(`cut-${number}`);
    await waitUntil(
      "the experiments are looked after",
      async () => (await kube.list(networkChaos)).items.every(({ status }) => (status.conditions ?? []).length > 0),
      patience,
    );
    const seconds = await uninstall();
    assert.ok(seconds < 30, `it took the controller ${seconds} s`);
    assert.deepEqual(await whatIsLeft(), []);
    assert.equal((await kube.get(namespaces, { name: SHOP })).metadata.annotations?.["squall.dev/injection-verdict"], undefined);

    await stopControllers();
    await install();
    await startController("third");
    await waitUntil("everything is held again", isHeld, patience);
    await waitUntil(
      "there is a CA again",
      () => kube.get(secrets, { namespace: "squall-system", name: "squall-ca" }).then(() => true),
      patience,
    );
  });

  it("puts the images back that pod-failure replaced", async () => {
    await install();
    await makePodThatNobodyReaches("failing");
    await startController("only");
    await waitUntil("everything is held", isHeld, patience);
    await kube.create(experimentResource("PodChaos"), {
      metadata: { namespace: SHOP, name: "fail", finalizers: [FINALIZER], annotations: { "squall.dev/author": author } },
      spec: { action: "pod-failure", mode: "all", selector: { namespaces: [SHOP], labelSelectors: { app: "failing" } } },
    });
    const pod = () => kube.get(pods, { namespace: SHOP, name: "failing" });
    const image = async () => (await pod()).spec.containers[0]?.image;
    await waitUntil("the image is replaced", async () => (await image()) === "squall:0.1.0", patience);
    const seconds = await uninstall();
    assert.ok(seconds < 30, `it took the controller ${seconds} s`);
    assert.equal(await image(), "none");
    assert.equal((await pod()).metadata.annotations?.["squall.dev/pod-failure"], undefined);
    assert.deepEqual(await whatIsLeft(), []);
  });

  it("takes no longer than the API server believes the controller, whoever cannot be reached", async () => {
    await install();
    await makePodThatNobodyReaches("far");
    await startController("only");
    await waitUntil("everything is held", isHeld, patience);
    await makeExperiment("far", {}, { "squall.dev/lease": "10m" });
    const records = async () => (await kube.get(networkChaos, { namespace: SHOP, name: "far" })).status.experiment.containerRecords ?? [];
    await waitUntil("the experiment has a target", async () => (await records()).length === 1, patience);
    const seconds = await uninstall();
    assert.ok(seconds > 35 && seconds < 60, `it took the controller ${seconds} s`);
    assert.deepEqual(await whatIsLeft(), []);
    await kube.delete(pods, { namespace: SHOP, name: "far" }, { gracePeriodSeconds: 0 });
  });

  it("recovers experiments that are to stay, and lets them go", async () => {
    await install();
    await startController("only");
    await waitUntil("everything is held", isHeld, patience);
    await makeExperiment("kept");
    // as with an overlay that has no CRDs
    const objects = await kubectl(["kustomize", "manifests"]);
    const withoutCrds = objects
      .split(/^---$/m)
      .filter((object) => !object.includes("kind: CustomResourceDefinition"))
      .join("---\n");
    await kubectl(["delete", "-f", "-", "--ignore-not-found", "--timeout=60s"], { stdin: withoutCrds, timeoutMs: 70_000 });
    const { metadata, status } = await kube.get(networkChaos, { namespace: SHOP, name: "kept" });
    assert.deepEqual([metadata.deletionTimestamp, metadata.finalizers ?? []], [undefined, []]);
    assert.equal(status.experiment.desiredPhase, "Stop");
    assert.deepEqual(
      (await whatIsLeft()).filter((line) => !line.startsWith("customresourcedefinition")),
      [],
    );
    await kubectl(["delete", "networkchaos", "kept", "-n", SHOP, "--timeout=20s"]);
  });

  it("does not hold up an installation that never ran", async () => {
    await install();
    assert.ok((await uninstall()) < 10);
    assert.deepEqual(await whatIsLeft(), []);
  });

  it("lets go what is deleted without the rest", async () => {
    await install();
    await startController("only");
    await waitUntil("everything is held", isHeld, patience);
    await makeExperiment("goes-on");
    await kubectl(["delete", "deployment", "squall-controller", "-n", "squall-system", "--timeout=60s"], { timeoutMs: 70_000 });
    await assert.rejects(kube.get(deployments, own), (error) => isKubeError(error, "not-found"));
    const { metadata } = await kube.get(networkChaos, { namespace: SHOP, name: "goes-on" });
    assert.deepEqual([metadata.deletionTimestamp, metadata.finalizers], [undefined, [FINALIZER]]);
    await kube.get(clusterRoles, { name: own.name });
    await kube.get(leases, own);
  });

  describe("the controller's account", () => {
    let asController: KubeConnection;
    before(async () => {
      await installManifests(kubectl);
      asController = connectKube({ process: "controller", version: "0", kubeconfig: await controllerKubeconfig(api, kubectl) });
    });
    after(() => asController.close());

    it("changes nothing of its own rights and pods but its finalizer", async () => {
      const onlyFinalizer = (error: unknown): boolean =>
        isKubeError(error, "forbidden") && /changes only its finalizer squall\.dev\/uninstall here/.test(error.message);
      const attempts = [
        () => asController.patch(clusterRoles, { name: own.name }, { metadata: { labels: { a: "b" } } }, { type: "merge" }),
        () => asController.patch(clusterRoles, { name: own.name }, { rules: [] }, { type: "merge" }),
        () => asController.patch(clusterRoleBindings, { name: own.name }, { subjects: [] }, { type: "merge" }),
        () =>
          asController.patch(serviceAccounts, own, { metadata: { annotations: { "eks.amazonaws.com/role-arn": "x" } } }, { type: "merge" }),
        () => asController.patch(serviceAccounts, own, { secrets: [{ name: "x" }] }, { type: "merge" }),
        () => asController.patch(deployments, own, { spec: { template: { spec: { hostPID: true } } } }, { type: "merge" }),
        () => asController.patch(deployments, own, { metadata: { finalizers: ["a.example.com/b"] } }, { type: "merge" }),
      ];
      // a new policy takes the API server a moment
      const [first] = attempts;
      await waitUntil(
        "the policy is in force",
        async () => (first === undefined ? false : first().then(() => false, onlyFinalizer)),
        patience,
      );
      for (const attempt of attempts) await assert.rejects(attempt(), onlyFinalizer, attempt.toString());
      await asController.patch(deployments, own, { metadata: { finalizers: ["squall.dev/uninstall"] } }, { type: "merge" });
      await asController.patch(deployments, own, { metadata: { finalizers: [] } }, { type: "merge" });
    });
  });
});

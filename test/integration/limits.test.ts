import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../common/clock.ts";
import { labels, OPTED_IN } from "../../common/names.ts";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { isKubeError, type KubeError } from "../../kube/errors.ts";
import { experimentResource } from "../../kube/experiments.ts";
import type { Resource } from "../../kube/kube.ts";
import { chaosPolicies, clusterHalts, halts } from "../../kube/limit-resources.ts";
import { namespaces, pods } from "../../kube/resources.ts";
import { FakeAgents } from "../support/fake-agent.ts";
import { startTestApiServer, type TestApiServer } from "../support/api-server.ts";
import { adminKubectl } from "./support/installation.ts";
import { type Leader, startLeader } from "./support/leader.ts";
import { bind, connectPerson, installAccess, type User } from "./support/users.ts";
import { startTestWebhook, type TestWebhook } from "./support/webhook.ts";

const NAMESPACE = "limits-shop";
const networkChaos = experimentResource("NetworkChaos");

describe("policies and halts, at a real API server", () => {
  let api: TestApiServer;
  let admin: KubeConnection;
  let webhook: TestWebhook;
  const people = new Map<string, User>();
  const closers: (() => Promise<void>)[] = [];

  before(async () => {
    api = await startTestApiServer();
    closers.push(() => api.close());
    admin = connectKube({ process: "test", version: "0", kubeconfig: api.kubeconfig });
    closers.push(() => admin.close());
    webhook = await startTestWebhook(admin);
    closers.push(() => webhook.close());
    await installAccess(admin, ["manifests/roles.yaml"]);
    await admin.create(namespaces, { metadata: { name: NAMESPACE, labels: { [labels.inject]: OPTED_IN } } });
    for (const name of ["ann", "ben", "chief"]) {
      const person = await connectPerson(api, { name });
      people.set(name, person);
      closers.push(() => person.kube.close());
      if (name === "chief") await bind(admin, "squall-operator", { kind: "User", name });
      else await bind(admin, "squall-experimenter", { kind: "User", name }, NAMESPACE);
    }
    for (let index = 0; index < 50; index++) await addPod(index);
  });
  after(async () => {
    for (const close of closers.toReversed()) await close();
  });
  afterEach(async () => {
    for (const { metadata } of (await admin.list(clusterHalts)).items) await admin.delete(clusterHalts, { name: metadata.name });
    for (const { metadata } of (await admin.list(halts)).items) await admin.delete(halts, metadata);
    for (const { metadata } of (await admin.list(chaosPolicies)).items) await admin.delete(chaosPolicies, { name: metadata.name });
    for (const { metadata } of (await admin.list(networkChaos)).items) {
      await admin.delete(networkChaos, metadata);
      await admin.patch(networkChaos, metadata, { metadata: { finalizers: null } }, { type: "merge" }).catch(() => undefined);
    }
    // The webhook hears of it by its watches.
    await sleep(300);
  });

  async function addPod(index: number): Promise<void> {
    const name = `web-${index}`;
    await admin.create(pods, {
      metadata: {
        namespace: NAMESPACE,
        name,
        labels: { app: "web", pod: name },
        ownerReferences: [{ apiVersion: "apps/v1", kind: "StatefulSet", name: "web", uid: "web", controller: true }],
      },
      spec: {
        nodeName: "node",
        initContainers: [{ name: "squall-sidecar", image: "none", restartPolicy: "Always" }],
        containers: [{ name: "app", image: "none" }],
      },
    });
    const ip = `10.9.0.${index + 1}`;
    const status = { phase: "Running", podIP: ip, podIPs: [{ ip }], conditions: [{ type: "Ready", status: "True" }] };
    await admin.patch(pods, { namespace: NAMESPACE, name }, { status }, { type: "merge", subresource: "status" });
  }

  const as = (name: string): KubeConnection => people.get(name)?.kube ?? assert.fail(name);
  const cut = (name: string, spec: object = {}) => ({
    metadata: { namespace: NAMESPACE, name },
    spec: { action: "partition", mode: "all", selector: { labelSelectors: { app: "web" } }, ...spec },
  });
  const isRefused = (pattern: RegExp) => (error: unknown) => {
    assert.ok(isKubeError(error, "forbidden"), String(error));
    assert.match(error.message, pattern);
    return true;
  };
  async function put(resource: Resource<unknown>, who: string, metadata: object, spec: object = {}): Promise<void> {
    await as(who).create(resource, { metadata, spec });
    await sleep(300);
  }

  it("refuse with policy, rule and limit, every violation at once", async () => {
    await put(
      chaosPolicies,
      "chief",
      { name: "strict" },
      {
        namespaces: [NAMESPACE],
        allow: [{ kind: "NetworkChaos", actions: ["delay"] }],
        duration: { max: "5m", required: true },
        requiredAnnotations: [{ key: "example.com/ticket", pattern: "OPS-*" }],
      },
    );
    await assert.rejects(as("ann").create(networkChaos, cut("a", { duration: "1h" })), (error: unknown) => {
      const { message } = error as KubeError;
      assert.match(message, /PolicyViolation: 3 violations in NetworkChaos a\./);
      assert.match(message, /spec\.action: "partition" is not allowed by policy strict \(spec\.allow\), which allows NetworkChaos delay\./);
      assert.match(message, /spec\.duration: is longer than policy strict \(spec\.duration\.max\) allows\. Write at most "5m"\./);
      assert.match(message, /metadata\.annotations\["example\.com\/ticket"\]: is missing/);
      return true;
    });
    const { metadata, spec } = cut("b", { action: "delay", delay: { latency: "1ms" }, duration: "5m" });
    await as("ann").create(networkChaos, { metadata: { ...metadata, annotations: { "example.com/ticket": "OPS-7" } }, spec });
  });

  it("let only operators make policies and cluster halts", async () => {
    for (const resource of [chaosPolicies, clusterHalts])
      await assert.rejects(
        as("ann").create<unknown>(resource, { metadata: { name: "mine" }, spec: {} }),
        isRefused(/cannot create resource/),
      );
    await assert.rejects(
      as("chief").create(chaosPolicies, { metadata: { name: "typo" }, spec: { duration: { max: "1 hour" } } }),
      isRefused(/InvalidSpec: .*\n +spec\.duration\.max: "1 hour" is no duration/),
    );
  });

  it("let whoever may experiment halt, and only the author or an operator lift it", async () => {
    await put(halts, "ann", { namespace: NAMESPACE, name: "stop" }, { reason: "outage" });
    await assert.rejects(
      as("ben").create(networkChaos, cut("a")),
      isRefused(/Halted: Halt limits-shop\/stop \("outage"\) refuses NetworkChaos a until it is deleted\./),
    );
    const ref = { namespace: NAMESPACE, name: "stop" };
    await assert.rejects(as("ben").delete(halts, ref), isRefused(/can only be deleted by "ann", who made it, or by an operator/));
    await assert.rejects(
      as("ben")
        .patch(halts, ref, { metadata: { annotations: { "squall.dev/author": '{"username":"ben"}' } } }, { type: "merge" })
        .then(() => as("ben").delete(halts, ref)),
      isRefused(/can only be deleted by "ann"/),
    );
    await assert.rejects(
      as("ben").patch(halts, ref, { spec: { reason: "mine" } }, { type: "merge" }),
      isRefused(/Cannot update chaos spec/),
    );
    const owner = { apiVersion: "v1", kind: "ConfigMap", name: "not-there", uid: "not-there" };
    await assert.rejects(
      as("ben").patch(halts, ref, { metadata: { ownerReferences: [owner] } }, { type: "merge" }),
      isRefused(/metadata\.ownerReferences: would have it deleted with its owner/),
    );
    await as("ann").delete(halts, ref);
    await put(halts, "ann", ref);
    await as("chief").delete(halts, ref);
    await sleep(300);
    await as("ben").create(networkChaos, cut("a"));
  });

  it("halt the cluster", async () => {
    await put(clusterHalts, "chief", { name: "stop" });
    await assert.rejects(as("ann").create(networkChaos, cut("a")), isRefused(/Halted: ClusterHalt stop refuses/));
  });

  it("plan in a dry run without names, and change nothing", async () => {
    await put(chaosPolicies, "chief", { name: "quarter" }, { budget: { maxPercent: 25 } });
    const kubectl = await adminKubectl(api);
    const { metadata, spec } = cut("dry", { mode: "fixed-percent", value: "50" });
    const { stdout, stderr } = await kubectl.attempt(["apply", "--dry-run=server", "-f", "-"], {
      stdin: JSON.stringify({ apiVersion: "chaos-mesh.org/v1alpha1", kind: "NetworkChaos", metadata, spec }),
    });
    assert.match(stdout, /created \(server dry run\)/);
    assert.deepEqual(stderr.trim().split("\n"), [
      "Warning: Plan: 50 pods match, 50 can be faulted, 25 would be picked at random.",
      "Warning: Plan: 1 workload touched; of the one touched most, up to 25 of 50 pods (50 %).",
      "Warning: Plan: more pods of one workload than the budget of quarter allows; it may wait with BudgetExceeded.",
    ]);
    assert.deepEqual((await admin.list(networkChaos)).items, []);
  });

  describe("with a controller", () => {
    let leader: Leader;
    const agents = new FakeAgents(systemClock);

    before(async () => {
      const kube = connectKube({ process: "controller", version: "0", kubeconfig: api.kubeconfig });
      leader = await startLeader({ kube, agents });
    });
    after(() => leader.close());

    it("a budget holds under a race of 50 creations", async () => {
      await put(chaosPolicies, "chief", { name: "seven" }, { budget: { maxPods: 7 } });
      await Promise.all(
        Array.from({ length: 50 }, (_, index) =>
          as("ann").create(networkChaos, cut(`race-${index}`, { selector: { labelSelectors: { pod: `web-${index}` } } })),
        ),
      );
      const state = async (): Promise<{ readonly granted: number; readonly waiting: number }> => {
        const { items } = await admin.list(networkChaos);
        const reasonOf = (item: (typeof items)[number]): string | undefined =>
          item.status.conditions?.find(({ type }) => type === "Selected")?.reason;
        return {
          granted: items.filter(({ status }) => (status.experiment.containerRecords ?? []).length > 0).length,
          waiting: items.filter((item) => reasonOf(item) === "BudgetExceeded").length,
        };
      };
      const limit = Date.now() + 30_000;
      let now = await state();
      let most = now.granted;
      while (now.granted + now.waiting < 50 && Date.now() < limit) {
        await sleep(50);
        now = await state();
        most = Math.max(most, now.granted);
      }
      assert.deepEqual({ ...now, most }, { granted: 7, waiting: 43, most: 7 });
    });
  });
});

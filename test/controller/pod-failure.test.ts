import assert from "node:assert/strict";
import { KubeError } from "../../kube/errors.ts";
import { experimentResource } from "../../kube/experiments.ts";
import { pods } from "../../kube/resources.ts";
import { ExperimentCluster, PAUSE_IMAGE } from "../support/experiment-cluster.ts";

const ANNOTATION = "squall.dev/pod-failure";

describe("a pod-failure", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());

  const fail = (name = "fail", spec: object = {}): Promise<unknown> => cluster.apply("PodChaos", name, { action: "pod-failure", ...spec });
  const remove = (name = "fail"): Promise<void> => cluster.delete(name, "PodChaos");
  const records = (name = "fail"): readonly string[] => cluster.records(name, "PodChaos");
  const annotation = (name = "a"): string | undefined => cluster.pod(name).metadata.annotations?.[ANNOTATION];
  const messageOf = (name = "fail"): string =>
    cluster.experiment(name, "PodChaos").status.experiment.containerRecords?.[0]?.message ?? assert.fail("no message");
  const podPatches = (): number => cluster.kube.requests.filter(({ verb, plural }) => verb === "patch" && plural === "pods").length;
  const addShopPod = (options: object = {}): string =>
    cluster.addPod("a", {
      containers: { app: "containerd://a-1", proxy: "containerd://a-2" },
      images: { app: "app:1", proxy: "proxy:2" },
      initImages: { setup: "busybox:3" },
      ...options,
    });

  it("replaces every image but the sidecar's by the pause image, in one patch, and brings them back", async () => {
    addShopPod();
    const before = cluster.kube.peek(pods, { namespace: "shop", name: "a" });
    await fail();
    assert.deepEqual(records(), ["shop/a: Injected"]);
    assert.deepEqual(cluster.images("a"), [PAUSE_IMAGE, PAUSE_IMAGE, PAUSE_IMAGE]);
    assert.equal(podPatches(), 1);
    const { uid } = cluster.experiment("fail", "PodChaos").metadata;
    assert.equal(
      annotation(),
      `{"spec":{"containers":[{"name":"app","image":"app:1"},{"name":"proxy","image":"proxy:2"}],"initContainers":[{"name":"setup","image":"busybox:3"}]},"pause":"${PAUSE_IMAGE}","ran":{"app":"containerd://a-1","proxy":"containerd://a-2"},"holders":["${uid}"]}`,
    );
    await remove();
    assert.equal(cluster.find("fail", "PodChaos"), undefined);
    const after = cluster.kube.peek(pods, { namespace: "shop", name: "a" });
    assert.deepEqual(after?.["spec"], before?.["spec"]);
    assert.equal(annotation(), undefined);
    assert.equal(podPatches(), 2);
  });

  it("is on record before the pod is changed", async () => {
    addShopPod();
    cluster.kube.fail({ verb: "patch", plural: "podchaos", times: 3, error: unavailable() });
    await fail();
    assert.equal(podPatches(), 0);
    await cluster.pass(2_000);
    assert.deepEqual(records(), ["shop/a: Injected"]);
  });

  it("is in force only when the kubelet has ended what ran before", async () => {
    addShopPod();
    cluster.kubelet.isAlive = false;
    await fail();
    assert.deepEqual(cluster.images("a"), [PAUSE_IMAGE, PAUSE_IMAGE, PAUSE_IMAGE]);
    assert.deepEqual(records(), ["shop/a: Not Injected/Wait"]);
    assert.equal(cluster.condition("fail", "AllInjected", "PodChaos").status, "False");
    cluster.kubelet.isAlive = true;
    await cluster.pass(0);
    assert.deepEqual(records(), ["shop/a: Injected"]);
  });

  it("is in force at once where the pause of one before still runs, as the kubelet was too busy to see that gone", async () => {
    addShopPod();
    await fail();
    cluster.kubelet.isAlive = false;
    await remove();
    assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
    await fail("again");
    cluster.kubelet.isAlive = true;
    await cluster.pass(0);
    assert.deepEqual(records("again"), ["shop/a: Injected"]);
    await remove("again");
    assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
  });

  it("says so where the pod is Ready all the same", async () => {
    addShopPod({ hasProbe: false });
    await fail();
    assert.deepEqual(records(), ["shop/a: Injected StillReady"]);
    assert.match(
      messageOf(),
      /^The pause image runs in every container, and the pod is Ready all the same: .* Give its containers a readinessProbe/,
    );
    assert.match(cluster.events("fail").join("\n"), /Failed: Failed to apply chaos: shop\/a: StillReady: /);
    await remove();
    assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
  });

  it("ends with its duration", async () => {
    addShopPod();
    await fail("fail", { duration: "30s" });
    await cluster.pass(30_000);
    assert.deepEqual(records(), ["shop/a: Not Injected"]);
    assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
  });

  // Row P2 of Chaos Mesh's own tests.
  it("gives the images back in a pause, and takes them again after it", async () => {
    addShopPod();
    await fail("fail", { duration: "9m" });
    await cluster.annotate("fail", { "experiment.chaos-mesh.org/pause": "true" }, "PodChaos");
    assert.equal(cluster.experiment("fail", "PodChaos").status.experiment.desiredPhase, "Stop");
    assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
    await cluster.annotate("fail", { "experiment.chaos-mesh.org/pause": null }, "PodChaos");
    assert.deepEqual(records(), ["shop/a: Injected"]);
    assert.deepEqual(cluster.images("a"), [PAUSE_IMAGE, PAUSE_IMAGE, PAUSE_IMAGE]);
    const [record] = cluster.experiment("fail", "PodChaos").status.experiment.containerRecords ?? [];
    assert.deepEqual([record?.injectedCount, record?.recoveredCount], [2, 1]);
  });

  it("is stopped by a halt", async () => {
    addShopPod();
    await fail();
    await cluster.halt("shop");
    assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
    assert.deepEqual(records(), ["shop/a: Not Injected"]);
  });

  for (const [first, last] of [
    ["one", "other"],
    ["other", "one"],
  ] as const)
    it(`holds a pod together with another one: ${first} ends first`, async () => {
      addShopPod();
      await fail("one");
      await fail("other");
      assert.deepEqual([...records("one"), ...records("other")], ["shop/a: Injected", "shop/a: Injected"]);
      await remove(first);
      assert.equal(cluster.find(first, "PodChaos"), undefined);
      assert.deepEqual(cluster.images("a"), [PAUSE_IMAGE, PAUSE_IMAGE, PAUSE_IMAGE]);
      await remove(last);
      assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
      assert.equal(annotation(), undefined);
    });

  it("plans anew when somebody else changed the pod first", async () => {
    addShopPod();
    const conflict = new KubeError("conflict", "the object has been modified");
    cluster.kube.fail({ verb: "patch", plural: "pods", times: 2, error: conflict });
    await fail();
    assert.deepEqual(records(), ["shop/a: Injected"]);
    cluster.kube.fail({ verb: "patch", plural: "pods", times: 2, error: conflict });
    await remove();
    assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
  });

  it("is taken back although the copy of the pod does not show it yet", async () => {
    addShopPod();
    await cluster.pass(0);
    cluster.kube.fail({ verb: "watch", plural: "pods", times: 50, error: unavailable() });
    cluster.kube.endWatches(unavailable());
    await cluster.pass(1_000);
    await fail();
    assert.deepEqual(cluster.images("a"), [PAUSE_IMAGE, PAUSE_IMAGE, PAUSE_IMAGE]);
    await remove();
    assert.equal(cluster.find("fail", "PodChaos"), undefined);
    assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
  });

  it("is tried again within 5 s while the API server cannot be reached, however long that was", async () => {
    addShopPod();
    await fail();
    cluster.kube.fail({ verb: "patch", plural: "pods", times: 30, error: unavailable() });
    await cluster.annotate("fail", { "experiment.chaos-mesh.org/pause": "true" }, "PodChaos");
    await cluster.pass(60_000);
    assert.deepEqual(records(), ["shop/a: Injected/Wait"]);
    await cluster.pass(90_000);
    assert.deepEqual(records(), ["shop/a: Not Injected"]);
    const times = podPatches();
    assert.ok(times >= 30 && times < 60, `${times} patches`);
  });

  it("says what the API server refuses, at both ends, and goes when nobody can confirm the end; the pod gets its images back when it may", async () => {
    addShopPod();
    const denied = new KubeError("forbidden", "policy says no");
    cluster.kube.fail({ verb: "patch", plural: "pods", times: 2, error: denied });
    await fail();
    assert.deepEqual(records(), ["shop/a: Not Injected/Wait ChangeFailed"]);
    assert.equal(messageOf(), "policy says no");
    await cluster.pass(2_000);
    assert.deepEqual(records(), ["shop/a: Injected"]);
    cluster.kube.fail({ verb: "patch", plural: "pods", times: 30, error: denied });
    await remove();
    await cluster.pass(3_000);
    assert.deepEqual(records(), ["shop/a: Injected/Wait RecoverFailed"]);
    await cluster.pass(66_000);
    assert.equal(cluster.find("fail", "PodChaos"), undefined);
    assert.equal(cluster.unconfirmed, 1);
    assert.match(cluster.events("fail").join("\n"), /Deleted without a confirmation .* on shop\/a\. It is tried again and again\./);
    await cluster.pass(90_000);
    assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
  });

  it("ends with its pod, and leaves another one of the same name alone", async () => {
    addShopPod();
    await fail();
    addShopPod();
    await cluster.pass(0);
    assert.deepEqual(records(), ["shop/a: Not Injected TargetGone"]);
    assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
    await remove();
    assert.equal(podPatches(), 1);
  });

  it("leaves an image alone that somebody else has set meanwhile, and says so", async () => {
    cluster.addPod("a", { initImages: { setup: "busybox:3" }, hasSidecar: false });
    await fail();
    await cluster.changePod("a", { spec: { containers: [{ name: "app", image: "app:2" }] } });
    assert.deepEqual(records(), ["shop/a: Injected/Wait ImageChanged"]);
    assert.equal(
      messageOf(),
      "Somebody set another image for container app meanwhile, so that the fault is not in force there. It is left alone.",
    );
    assert.equal(podPatches(), 1);
    await remove();
    assert.deepEqual(cluster.images("a"), ["app:2", "busybox:3"]);
    assert.equal(annotation(), undefined);
  });

  it("leaves out pods that could not be brought back, or that still start", async () => {
    cluster.addPod("done", { restartPolicy: "Never" });
    cluster.addPod("new", { phase: "Pending" });
    cluster.addPod("static", { annotations: { "kubernetes.io/config.mirror": "1" } });
    await fail();
    const skipped = cluster.experiment("fail", "PodChaos").status.skipped ?? [];
    assert.deepEqual(
      skipped.map(({ id, reason }) => `${id} ${reason}`),
      ["shop/done CannotCarry", "shop/new NotRunning", "shop/static CannotCarry"],
    );
  });

  it("waits for a pod that joins it to have started", async () => {
    addShopPod();
    await cluster.apply("PodChaos", "fail", { action: "pod-failure" }, { "squall.dev/follow": "true" });
    const uid = cluster.addPod("b", { phase: "Pending" });
    await cluster.pass(0);
    assert.deepEqual(records(), ["shop/a: Injected", "shop/b: Not Injected/Wait"]);
    assert.deepEqual(cluster.images("b"), ["app:1"]);
    cluster.addPod("b", { uid });
    await cluster.pass(0);
    assert.deepEqual(records(), ["shop/a: Injected", "shop/b: Injected"]);
  });

  it("takes back at once, by a new leader, what ended while nobody led", async () => {
    addShopPod();
    await fail("fail", { duration: "60s" });
    await cluster.stop();
    await cluster.clock.advance(120_000);
    assert.deepEqual(cluster.images("a"), [PAUSE_IMAGE, PAUSE_IMAGE, PAUSE_IMAGE]);
    await cluster.takeOver();
    assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
  });

  it("is taken back although its spec cannot be read any more", async () => {
    addShopPod();
    await fail();
    const ref = { namespace: "shop", name: "fail" };
    const stored = cluster.kube.peek(experimentResource("PodChaos"), ref) ?? assert.fail();
    cluster.kube.seed(experimentResource("PodChaos"), {
      ...stored,
      metadata: Object(stored["metadata"]),
      spec: { ...Object(stored["spec"]), mode: "some" },
    });
    await cluster.pass(0);
    assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
    assert.deepEqual(records(), ["shop/a: Not Injected"]);
  });

  describe("whose experiment is gone without taking it back", () => {
    const forceAway = (): void => cluster.kube.remove(experimentResource("PodChaos"), { namespace: "shop", name: "fail" });
    const podEvents = (): readonly string[] => cluster.events("a").filter((event) => event.startsWith("PodFailureSwept"));

    it("is swept from the pod, which an event on the pod tells", async () => {
      addShopPod();
      await fail();
      forceAway();
      await cluster.pass(1_000);
      assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
      assert.equal(annotation(), undefined);
      assert.equal(podEvents().length, 1);
    });

    it("is swept by whoever leads next", async () => {
      addShopPod();
      await fail();
      await cluster.stop();
      forceAway();
      await cluster.takeOver();
      await cluster.pass(1_000);
      assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
    });

    it("goes on for others that hold the pod", async () => {
      addShopPod();
      await fail();
      await fail("other");
      forceAway();
      await cluster.pass(1_000);
      assert.deepEqual(cluster.images("a"), [PAUSE_IMAGE, PAUSE_IMAGE, PAUSE_IMAGE]);
      await remove("other");
      assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
    });

    it("is not believed to be gone while the API server does not say so", async () => {
      addShopPod();
      await fail();
      const held = annotation();
      // the copies of a new leader have no experiment, and the API server has
      cluster.kube.fail({ verb: "watch", plural: "podchaos", times: 2, error: unavailable() });
      cluster.kube.fail({ verb: "list", plural: "podchaos", times: 1, error: unavailable() });
      forceAway();
      await cluster.pass(600);
      assert.equal(annotation(), held);
      await cluster.pass(10_000);
      assert.equal(annotation(), undefined);
    });

    it("is left alone where the annotation says nothing that can be read", async () => {
      addShopPod({ annotations: { [ANNOTATION]: "{}" } });
      await fail();
      assert.deepEqual(records(), ["shop/a: Not Injected/Wait ClaimUnreadable"]);
      assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
    });
  });

  describe("of Chaos Mesh", () => {
    const left = {
      images: { app: "gcr.io/google-containers/pause:latest", proxy: "gcr.io/google-containers/pause:latest" },
      initImages: { setup: "gcr.io/google-containers/pause:latest" },
      annotations: {
        "chaos-mesh-old-pod-failure-app-normal-image": "app:1",
        "chaos-mesh-old-pod-failure-proxy-normal-image": "proxy:2",
        "chaos-mesh-old-pod-failure-setup-init-image": "busybox:3",
        team: "cart",
      },
    };
    /** As Chaos Mesh left it: no UID, no author. */
    const seedExperiment = (name: string): void => {
      const record = { id: "shop/a", selectorKey: ".", phase: "Injected", injectedCount: 1, recoveredCount: 0 };
      cluster.kube.seed(experimentResource("PodChaos"), {
        metadata: { name, namespace: "shop", finalizers: ["chaos-mesh/records"] },
        spec: { action: "pod-failure", mode: "one", selector: { namespaces: ["shop"] } },
        status: { experiment: { desiredPhase: "Run", containerRecords: [record] } },
      });
    };

    it("is taken back when its experiment is", async () => {
      addShopPod(left);
      seedExperiment("old");
      await cluster.pass(0);
      assert.deepEqual(cluster.images("a")[0], "gcr.io/google-containers/pause:latest");
      await remove("old");
      assert.equal(cluster.find("old", "PodChaos"), undefined);
      assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
      assert.deepEqual(cluster.pod("a").metadata.annotations, { team: "cart" });
    });

    it("is taken back by its short annotations, which it writes where names are long", async () => {
      const name = "an-experiment-of-a-rather-long-name-which-people-do-write";
      addShopPod({ ...left, annotations: { "app-normal": "app:1", "proxy-normal": "proxy:2", "setup-init": "busybox:3" } });
      seedExperiment(name);
      await cluster.pass(0);
      await remove(name);
      assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
    });

    it("is not looked for behind short annotations when its experiment is one of ours", async () => {
      const name = "an-experiment-of-a-rather-long-name-which-people-do-write";
      addShopPod();
      await fail(name);
      await cluster.changePod("a", { metadata: { annotations: { "app-normal": "yes" } } });
      await remove(name);
      assert.deepEqual(cluster.images("a"), ["app:1", "proxy:2", "busybox:3"]);
      assert.equal(cluster.pod("a").metadata.annotations?.["app-normal"], "yes");
    });

    it("keeps another one of ours away: the images that stand there are not the pod's own", async () => {
      addShopPod(left);
      await fail();
      assert.deepEqual(records(), ["shop/a: Not Injected/Wait LeftByChaosMesh"]);
      assert.equal(podPatches(), 0);
      assert.match(messageOf(), /^A pod-failure of Chaos Mesh left pod shop\/a with its pause image\. Delete that PodChaos/);
    });
  });
});

const unavailable = (): KubeError => new KubeError("unavailable", "connection refused");

import assert from "node:assert/strict";
import { renderAuthor } from "../../api/author.ts";
import { FINALIZER } from "../../common/names.ts";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { experimentResource } from "../../kube/experiments.ts";
import { namespaces, pods } from "../../kube/resources.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import { planHold, planRelease, type PodPlan } from "../../controller/pod-failure/plan-change.ts";
import { startTestApiServer, type TestApiServer } from "../support/api-server.ts";
import { FakeAgents } from "../support/fake-agent.ts";
import { FakeClock } from "../support/fake-clock.ts";
import type { Kubectl } from "../cluster/support/kubectl.ts";
import { adminKubectl } from "./support/installation.ts";
import { type Leader, startLeader } from "./support/leader.ts";
import { refusal } from "./support/refusal.ts";
import { anyResource } from "./support/served-kinds.ts";
import { connectServiceAccount } from "./support/users.ts";

const SHOP = "failing-shop";
/** Did not opt in. */
const BANK = "failing-bank";
const PAUSE = "squall:0.1.0";
const podChaos = experimentResource("PodChaos");
const rawPods = anyResource("", "v1", "Pod", "pods", true);
const author = renderAuthor({ username: "admin", groups: ["system:masters"], extra: {} });
const ANNOTATION = "/metadata/annotations/squall.dev~1pod-failure";
const ONLY_IMAGES = /changes only images and the annotation squall\.dev\/pod-failure of a pod/;
const ONLY_PAUSE = /changes images of a pod only to its pause image and back/;
const patience = { timeoutMs: 20_000, mayFail: true };

describe("pod-failure, at a real API server with manifests/guarded.yaml", () => {
  let api: TestApiServer;
  let admin: KubeConnection;
  let kubectl: Kubectl;
  let controller: KubeConnection;
  let uids = 0;

  before(async () => {
    api = await startTestApiServer();
    admin = connectKube({ process: "test", version: "0", kubeconfig: api.kubeconfig });
    kubectl = await adminKubectl(api);
    for (const name of ["squall-system", BANK]) await admin.create(namespaces, { metadata: { name } });
    await admin.create(namespaces, { metadata: { name: SHOP, labels: { "squall.dev/inject": "enabled" } } });
    await kubectl(["apply", "-k", "manifests"], { timeoutMs: 60_000 });
    await kubectl(["delete", "mutatingwebhookconfigurations,validatingwebhookconfigurations", "squall-webhook"]);
    for (const namespace of [SHOP, BANK]) await kubectl(["create", "serviceaccount", "default", "-n", namespace]);
    controller = (await connectServiceAccount(api, admin, "squall-system", "squall-controller")).kube;
    await waitUntil(
      "the policy is in force",
      async () => {
        await addPod("probe");
        const error = await refusal(patchRaw("probe", [{ op: "add", path: "/metadata/labels", value: { a: "b" } }]));
        return ONLY_IMAGES.test(error.message) || error.message;
      },
      patience,
    );
  });
  after(async () => {
    await controller.close();
    await admin.close();
    await api.close();
  });

  async function addPod(
    name: string,
    {
      namespace = SHOP,
      annotations = {},
      spec = {},
    }: { readonly namespace?: string; readonly annotations?: object; readonly spec?: object } = {},
  ): Promise<void> {
    if (await admin.get(pods, { namespace, name }).catch(() => undefined))
      await admin.delete(pods, { namespace, name }, { gracePeriodSeconds: 0 });
    const restricted = { terminationMessagePolicy: "FallbackToLogsOnError", resources: { limits: { memory: "64Mi" } } };
    await admin.create(pods, {
      metadata: { namespace, name, annotations: { team: "cart", ...annotations } },
      spec: {
        nodeName: "node",
        terminationGracePeriodSeconds: 30,
        initContainers: [
          { name: "squall-sidecar", image: PAUSE, restartPolicy: "Always" },
          { name: "setup", image: "busybox:3" },
        ],
        containers: [
          {
            name: "app",
            image: "registry.example.com:5000/shop/app@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            ...restricted,
          },
          { name: "0", image: "proxy:2" },
        ],
        ...spec,
      },
    });
    const status = {
      phase: "Running",
      containerStatuses: [
        { name: "app", containerID: "containerd://1", state: { running: {} }, image: "a", imageID: "a", ready: true, restartCount: 0 },
        { name: "0", containerID: "containerd://2", state: { running: {} }, image: "a", imageID: "a", ready: true, restartCount: 0 },
      ],
    };
    await admin.patch(pods, { namespace, name }, { status }, { type: "merge", subresource: "status" });
  }

  const patchRaw = (name: string, operations: readonly object[], namespace = SHOP): Promise<unknown> =>
    controller.patch(rawPods, { namespace, name }, operations, { type: "json" });
  const operationsOf = (plan: PodPlan): readonly object[] => (plan.is === "patch" ? plan.operations : assert.fail(plan.is));
  const podNamed = (name: string, namespace = SHOP) => admin.get(pods, { namespace, name });
  /** All of a pod but what every write changes. */
  const wholePod = async (name: string): Promise<unknown> => {
    const found = JSON.parse(await kubectl(["get", "pod", name, "-n", SHOP, "-o", "json"])) as {
      readonly metadata: Readonly<Record<string, unknown>>;
      readonly spec: unknown;
    };
    const { resourceVersion: _, generation: __, managedFields: ___, ...metadata } = found.metadata;
    return { metadata, spec: found.spec };
  };
  const newUid = (): string => `00000000-0000-4000-8000-${String(++uids).padStart(12, "0")}`;
  const hold = async (name: string, holder = newUid(), namespace = SHOP): Promise<string> => {
    await patchRaw(name, operationsOf(planHold(await podNamed(name, namespace), holder, PAUSE)), namespace);
    return holder;
  };

  it("puts the pause image in and takes it out again, for two holders in any order, and leaves no trace", async () => {
    await addPod("web");
    const clean = await wholePod("web");
    const first = await hold("web");
    const second = await hold("web");
    const images = async (): Promise<readonly unknown[]> => {
      const { containers, initContainers } = (await podNamed("web")).spec;
      return [...containers, ...initContainers].map(({ image }) => image);
    };
    assert.deepEqual(await images(), [PAUSE, PAUSE, PAUSE, PAUSE]);
    await patchRaw("web", operationsOf(planRelease(await podNamed("web"), (holder) => holder === first)));
    assert.deepEqual(await images(), [PAUSE, PAUSE, PAUSE, PAUSE]);
    await patchRaw("web", operationsOf(planRelease(await podNamed("web"), (holder) => holder === second)));
    assert.deepEqual(await wholePod("web"), clean);
  });

  it("leaves a way back by hand, as docs/kinds/pod-chaos.md has it", async () => {
    await addPod("web");
    const clean = await wholePod("web");
    await hold("web");
    const claim = (await podNamed("web")).metadata.annotations?.["squall.dev/pod-failure"] ?? assert.fail("it is not held");
    const { spec } = JSON.parse(claim) as { readonly spec: object };
    await kubectl(["patch", "pod", "web", "-n", SHOP, `--patch=${JSON.stringify({ spec })}`]);
    await kubectl(["annotate", "pod", "web", "-n", SHOP, "squall.dev/pod-failure-"]);
    assert.deepEqual(await wholePod("web"), clean);
  });

  it("tells a pod that somebody else has changed since", async () => {
    await addPod("busy");
    const operations = operationsOf(planHold(await podNamed("busy"), newUid(), PAUSE));
    await kubectl(["annotate", "pod", "busy", "-n", SHOP, "note=mine"]);
    assert.equal((await refusal(patchRaw("busy", operations))).kind, "conflict");
  });

  it("refuses to replace images in a namespace that did not opt in, and lets them come back there", async () => {
    await addPod("till", { namespace: BANK });
    const error = await refusal(hold("till", newUid(), BANK));
    assert.match(error.message, /only in namespaces with the label squall\.dev\/inject: enabled/);
    await kubectl(["label", "namespace", BANK, "squall.dev/inject=enabled"]);
    await waitUntil("the label is known", () => hold("till", newUid(), BANK).then(() => true), patience);
    await kubectl(["label", "namespace", BANK, "squall.dev/inject-"]);
    await patchRaw("till", operationsOf(planRelease(await podNamed("till", BANK), () => true)), BANK);
    assert.equal((await podNamed("till", BANK)).spec.containers[1]?.image, "proxy:2");
  });

  it("puts right what Chaos Mesh left, and removes its annotations", async () => {
    await addPod("old", {
      annotations: {
        "chaos-mesh-x-pod-failure-app-normal-image": "app:1",
        "chaos-mesh-x-pod-failure-0-normal-image": "proxy:2",
        "chaos-mesh-x-pod-failure-setup-init-image": "busybox:3",
      },
    });
    await patchRaw("old", operationsOf(planRelease(await podNamed("old"), () => false, { name: "x", isSure: true })));
    const { metadata, spec } = await podNamed("old");
    assert.deepEqual(
      [...spec.containers, ...spec.initContainers].map(({ image }) => image),
      ["app:1", "proxy:2", PAUSE, "busybox:3"],
    );
    assert.deepEqual(metadata.annotations, { team: "cart" });
  });

  /** What a controller in wrong hands may try, on a pod as it is and on one that is held. */
  const attempts: readonly (readonly [title: string, on: "free" | "held", operations: readonly object[], said: RegExp])[] = [
    ["to run an image of its own", "free", [image("containers", 0, "evil:1")], ONLY_PAUSE],
    ["to run one beside the fault", "held", [image("containers", 0, "evil:1")], ONLY_PAUSE],
    ["to put the pause image in without a word of what was there", "free", [image("containers", 0, PAUSE)], ONLY_PAUSE],
    [
      "to write down images that were not there",
      "free",
      [
        {
          op: "add",
          path: ANNOTATION,
          value: `{"spec":{"containers":[{"name":"app","image":"evil:1"},{"name":"0","image":"proxy:2"}],"initContainers":[{"name":"setup","image":"busybox:3"}]},"pause":"${PAUSE}","ran":{},"holders":["${newUid()}"]}`,
        },
        ...[0, 1].map((index) => image("containers", index, PAUSE)),
        image("initContainers", 1, PAUSE),
      ],
      ONLY_PAUSE,
    ],
    [
      "to write down other images later",
      "held",
      [
        {
          op: "replace",
          path: ANNOTATION,
          value: `{"spec":{"containers":[{"name":"app","image":"evil:1"}],"initContainers":[]},"pause":"${PAUSE}","ran":{},"holders":["${newUid()}"]}`,
        },
      ],
      ONLY_PAUSE,
    ],
    ["to forget what was there", "held", [{ op: "remove", path: ANNOTATION }], ONLY_PAUSE],
    ["to forget it for one of the containers", "held", [{ op: "remove", path: ANNOTATION }, image("containers", 1, "proxy:2")], ONLY_PAUSE],
    ["to bring back another image", "held", [{ op: "remove", path: ANNOTATION }, image("containers", 0, "evil:1")], ONLY_PAUSE],
    [
      "to swap two containers' images on the way back",
      "held",
      [{ op: "remove", path: ANNOTATION }, image("containers", 0, "proxy:2")],
      ONLY_PAUSE,
    ],
    ["to replace the sidecar's image", "free", [image("initContainers", 0, "evil:1")], ONLY_IMAGES],
    ["to add a label", "free", [{ op: "add", path: "/metadata/labels", value: { app: "web" } }], ONLY_IMAGES],
    ["to add an annotation", "held", [{ op: "add", path: "/metadata/annotations/note", value: "x" }], ONLY_IMAGES],
    ["to change another annotation", "free", [{ op: "replace", path: "/metadata/annotations/team", value: "x" }], ONLY_IMAGES],
    ["to remove one", "free", [{ op: "remove", path: "/metadata/annotations/team" }], ONLY_IMAGES],
    [
      "to make itself an annotation of Chaos Mesh",
      "free",
      [{ op: "add", path: "/metadata/annotations/chaos-mesh-x-pod-failure-app-normal-image", value: "evil:1" }],
      ONLY_IMAGES,
    ],
    ["to add a finalizer", "free", [{ op: "add", path: "/metadata/finalizers", value: ["squall.dev/x"] }], ONLY_IMAGES],
    [
      "to add an owner",
      "free",
      [{ op: "add", path: "/metadata/ownerReferences", value: [{ apiVersion: "v1", kind: "Pod", name: "x", uid: newUid() }] }],
      ONLY_IMAGES,
    ],
    [
      "to tolerate more",
      "free",
      [{ op: "add", path: "/spec/tolerations/-", value: { key: "x", operator: "Exists", effect: "NoSchedule" } }],
      ONLY_IMAGES,
    ],
    ["to end the pod soon", "free", [{ op: "add", path: "/spec/activeDeadlineSeconds", value: 1 }], ONLY_IMAGES],
  ];
  for (const [title, on, operations, said] of attempts)
    it(`refuses the controller's account ${title}`, async () => {
      await addPod("victim");
      if (on === "held") await hold("victim");
      const error = await refusal(patchRaw("victim", operations));
      assert.equal(error.kind, "forbidden");
      assert.match(error.message, said);
    });

  it("lets everybody else change pods as before", async () => {
    await addPod("victim");
    await kubectl(["set", "image", "pod/victim", "app=evil:1", "-n", SHOP]);
    await kubectl(["label", "pod", "victim", "-n", SHOP, "app=web"]);
  });

  describe("a leader with the controller's account", () => {
    let leader: Leader;
    const spec = { action: "pod-failure", mode: "all", selector: { namespaces: [SHOP], pods: { [SHOP]: ["shelf"] } } };
    const start = async (epoch: number): Promise<Leader> => {
      const { kube } = await connectServiceAccount(api, admin, "squall-system", "squall-controller");
      return startLeader({ kube, agents: new FakeAgents(new FakeClock()), epoch });
    };
    afterEach(() => leader.close());

    it("makes a pod fail and brings it back within 10 s of its return, exactly as it was", async () => {
      await addPod("shelf");
      const clean = await wholePod("shelf");
      leader = await start(1);
      await admin.create(podChaos, {
        metadata: { namespace: SHOP, name: "fail", finalizers: [FINALIZER], annotations: { "squall.dev/author": author } },
        spec,
      });
      await waitUntil("the images are replaced", async () => (await podNamed("shelf")).spec.containers[0]?.image === PAUSE, patience);
      await leader.close();
      await kubectl(["delete", "podchaos", "fail", "-n", SHOP, "--wait=false"]);
      leader = await start(2);
      const returnedMs = performance.now();
      await waitUntil(
        "the experiment is gone",
        async () => (await kubectl(["get", "podchaos", "-n", SHOP, "-o", "name"])) === "",
        patience,
      );
      const seconds = (performance.now() - returnedMs) / 1000;
      assert.ok(seconds < 10, `${seconds} s`);
      assert.deepEqual(await wholePod("shelf"), clean);
    });

    it("brings back pods of an experiment whose finalizer was taken away, and tells them so", async () => {
      await addPod("shelf");
      const clean = await wholePod("shelf");
      leader = await start(3);
      await admin.create(podChaos, {
        metadata: { namespace: SHOP, name: "lost", finalizers: [FINALIZER], annotations: { "squall.dev/author": author } },
        spec,
      });
      await waitUntil("the images are replaced", async () => (await podNamed("shelf")).spec.containers[0]?.image === PAUSE, patience);
      await leader.close();
      await kubectl(["delete", "podchaos", "lost", "-n", SHOP, "--wait=false"]);
      await kubectl(["patch", "podchaos", "lost", "-n", SHOP, "--type=merge", '--patch={"metadata":{"finalizers":null}}']);
      leader = await start(4);
      await waitUntil("the images are back", async () => (await podNamed("shelf")).spec.containers[1]?.image === "proxy:2", {
        ...patience,
        timeoutMs: 10_000,
      });
      assert.deepEqual(await wholePod("shelf"), clean);
      const told = async (): Promise<boolean> =>
        (
          await kubectl(["get", "events", "-n", SHOP, "--field-selector=involvedObject.name=shelf", "-o", "jsonpath={.items[*].reason}"])
        ).includes("PodFailureSwept");
      await waitUntil("an event tells it", told, patience);
    });
  });
});

function image(list: "containers" | "initContainers", index: number, value: string): object {
  return { op: "replace", path: `/spec/${list}/${index}/image`, value };
}

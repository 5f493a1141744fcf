import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import * as z from "zod";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { isKubeError, type KubeError } from "../../kube/errors.ts";
import { experimentResource } from "../../kube/experiments.ts";
import { namespaces, resourceOf } from "../../kube/resources.ts";
import { cachedPath, ensureBinaries } from "../../lab/binaries.ts";
import { placesOf } from "../../lab/places.ts";
import { silentProgress } from "../../lab/progress.ts";
import { startTestApiServer, type TestApiServer } from "../support/api-server.ts";
import { refusal } from "./support/refusal.ts";
import { startTestWebhook, type TestWebhook } from "./support/webhook.ts";

const root = join(import.meta.dirname, "..", "..");
const mounts = { volumeMounts: z.array(z.looseObject({ mountPath: z.string(), mountPropagation: z.string().optional() })).optional() };
const rawPods = resourceOf(
  { group: "", version: "v1", kind: "Pod", plural: "pods", isNamespaced: true },
  z.looseObject({
    metadata: z.looseObject({ annotations: z.record(z.string(), z.string()).optional() }),
    spec: z.looseObject({
      initContainers: z.array(z.looseObject({ name: z.string(), restartPolicy: z.string().optional(), ...mounts })).optional(),
      containers: z.array(z.looseObject({ name: z.string(), ...mounts })),
    }),
  }),
);
const ownClaim = { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } } };

describe("admission through a real API server", () => {
  let api: TestApiServer;
  let kube: KubeConnection;
  let webhook: TestWebhook;
  const namespace = "admission-shop";
  const networkChaos = experimentResource("NetworkChaos");

  before(async () => {
    api = await startTestApiServer();
    kube = connectKube({ process: "test", version: "0", kubeconfig: api.kubeconfig });
    webhook = await startTestWebhook(kube);
    await kube.create(namespaces, { metadata: { name: namespace, labels: { "squall.dev/inject": "enabled" } } });
    await kube.create(namespaces, { metadata: { name: "stranger-shop" } });
  });
  after(async () => {
    await kube.close();
    await webhook.close();
    await api.close();
  });

  const experiment = (name: string, spec: unknown): { readonly metadata: object; readonly spec: unknown } => ({
    metadata: { namespace, name },
    spec,
  });

  it("refuses a change of spec, allows one of metadata, and never holds up a deletion", async () => {
    const ref = { namespace, name: "immutable" };
    await kube.create(networkChaos, experiment(ref.name, { action: "partition", mode: "all" }));
    const error = await refusal(kube.patch(networkChaos, ref, { spec: { mode: "one" } }, { type: "merge" }));
    assert.match(error.message, /SpecImmutable: Cannot update chaos spec/);
    const annotations = { "experiment.chaos-mesh.org/pause": "true" };
    const paused = await kube.patch(networkChaos, ref, { metadata: { annotations } }, { type: "merge" });
    assert.equal(paused.metadata.annotations?.["experiment.chaos-mesh.org/pause"], "true");
    await kube.delete(networkChaos, ref);
    const gone = await kube.patch(networkChaos, ref, { metadata: { finalizers: [] } }, { type: "merge" });
    assert.notEqual(gone.metadata.deletionTimestamp, undefined);
    assert.ok(isKubeError(await refusal(kube.get(networkChaos, ref)), "not-found"));
  });

  it("does not ask the webhook about status", async () => {
    const ref = { namespace, name: "with-status" };
    await kube.create(networkChaos, experiment(ref.name, { action: "partition", mode: "all" }));
    const before = webhook.seen.length;
    await kube.patch(networkChaos, ref, { status: { experiment: { desiredPhase: "Run" } } }, { type: "merge", subresource: "status" });
    assert.equal(webhook.seen.length, before);
  });

  it("adds the sidecar to a pod that opted in, which the API server takes, and is never shown another", async () => {
    const pod = (name: string, labels: object, where = namespace) => ({
      metadata: { namespace: where, name, labels },
      spec: { serviceAccountName: "default", containers: [{ name: "app", image: "app:1" }] },
    });
    const optedIn = { "squall.dev/inject": "enabled" };
    const before = webhook.seen.filter((line) => line.startsWith("/inject")).length;
    await kube.create(rawPods, pod("plain", {}));
    await kube.create(rawPods, pod("labelled", optedIn, "stranger-shop"));
    assert.equal(webhook.seen.filter((line) => line.startsWith("/inject")).length, before);
    const made = await kube.create(rawPods, pod("asked", optedIn));
    assert.equal(webhook.seen.filter((line) => line.startsWith("/inject")).length, before + 1);
    const [sidecar] = made.spec.initContainers ?? [];
    assert.deepEqual([sidecar?.name, sidecar?.restartPolicy], ["squall-sidecar", "Always"]);
    assert.equal(made.metadata.annotations?.["squall.dev/injected"], "0 network");
  });

  it("has mounts of the volumes propagate that a pod wants to have served, which the API server takes", async () => {
    const mount = (name: string, more: object = {}) => ({ name, mountPath: `/${name}`, ...more });
    const names = ["data", "cache", "own", "locked", "conf"];
    const made = await kube.create(rawPods, {
      metadata: {
        namespace,
        name: "served",
        labels: { "squall.dev/inject": "enabled" },
        annotations: { "squall.dev/volumes": names.join(", ") },
      },
      spec: {
        serviceAccountName: "default",
        volumes: [
          { name: "data", ephemeral: { volumeClaimTemplate: { spec: ownClaim } } },
          { name: "cache", emptyDir: { medium: "Memory" } },
          { name: "own", emptyDir: {} },
          { name: "locked", emptyDir: {} },
          { name: "conf", configMap: { name: "conf" } },
        ],
        initContainers: [{ name: "migrate", image: "app:1", volumeMounts: [mount("data", { subPath: "db", readOnly: true })] }],
        containers: [
          {
            name: "app",
            image: "app:1",
            volumeMounts: names.map((name) => mount(name, name === "locked" ? { readOnly: true, recursiveReadOnly: "IfPossible" } : {})),
          },
        ],
      },
    });
    const { initContainers = [], containers } = made.spec;
    const propagating = [...initContainers, ...containers].flatMap(({ name, volumeMounts = [] }) =>
      volumeMounts.flatMap(({ mountPath, mountPropagation }) =>
        mountPropagation === undefined ? [] : [`${name} ${mountPath} ${mountPropagation}`],
      ),
    );
    assert.deepEqual(propagating, [
      "migrate /data HostToContainer",
      "app /data HostToContainer",
      "app /cache HostToContainer",
      "app /own HostToContainer",
    ]);
    assert.equal(made.metadata.annotations?.["squall.dev/injected"], "0 network io");
    // The reason why one is left as it is: with propagation the API server would refuse the whole pod.
    const refused = {
      metadata: { namespace, name: "locked" },
      spec: {
        volumes: [{ name: "locked", emptyDir: {} }],
        containers: [
          {
            name: "app",
            image: "app:1",
            volumeMounts: [mount("locked", { readOnly: true, recursiveReadOnly: "IfPossible", mountPropagation: "HostToContainer" })],
          },
        ],
      },
    };
    assert.match((await refusal(kube.create(rawPods, refused))).message, /recursiveReadOnly/);
  });

  it("stores what came of a file fault by method, and refuses objects per pod with the kind to write", async () => {
    const ioChaos = experimentResource("IOChaos");
    const ref = { namespace, name: "counted" };
    const spec = { action: "fault", errno: 28, mode: "all", volumePath: "/data" };
    await kube.create(ioChaos, experiment(ref.name, spec));
    const receipts = { matched: 3, dropped: 0, delayed: 0, exempted: 0, failed: 3, methods: { write: { seen: 9, matched: 3, failed: 3 } } };
    const record = { id: `${namespace}/served/app`, phase: "Injected", receipts };
    const status = { experiment: { desiredPhase: "Run", containerRecords: [record] } };
    await kube.patch(ioChaos, ref, { status }, { type: "merge", subresource: "status" });
    assert.deepEqual((await kube.get(ioChaos, ref)).status.experiment.containerRecords?.[0]?.receipts, receipts);
    const perPod = resourceOf(
      { group: "chaos-mesh.org", version: "v1alpha1", kind: "PodIOChaos", plural: "podiochaos", isNamespaced: true },
      z.looseObject({}),
    );
    const refused = await refusal(kube.create(perPod, { metadata: { namespace, name: "served" }, spec: { volumeMountPath: "/data" } }));
    assert.match(refused.message, /OnlyByController: .*Write one of kind IOChaos, which selects pods/);
    assert.deepEqual((await kube.list(perPod)).items, []);
  });

  describe("kubectl, as a user types it", () => {
    const run = promisify(execFile);
    let kubectl: (...parameters: readonly string[]) => Promise<string>;
    before(async () => {
      const { cache } = placesOf(process.env);
      await ensureBinaries(["kubectl"], { cache, kubebuilderAssets: process.env["KUBEBUILDER_ASSETS"] }, silentProgress);
      kubectl = async (...parameters) => {
        const { stdout, stderr } = await run(cachedPath(cache, "kubectl"), [`--kubeconfig=${api.kubeconfig}`, ...parameters], {
          cwd: root,
        });
        return stdout + stderr;
      };
    });

    it("applies the CRDs client-side, again and again", async () => {
      for (let round = 0; round < 2; round++) await kubectl("apply", "-f", "manifests/crds");
    });

    it("explains fields", async () => {
      assert.match(await kubectl("explain", "networkchaos.spec.delay.latency"), /Added latency, one number and one unit, such as 200ms/);
      assert.match(await kubectl("explain", "podchaos.spec.mode"), /How many of the candidates/);
    });

    it("applies every example, and the same again changes nothing", async () => {
      await kube.create(namespaces, { metadata: { name: "shop", labels: { "squall.dev/inject": "enabled" } } });
      // Some show kinds that are judged and not carried out yet.
      webhook.policy.admitUnsupported = true;
      const versions = (): Promise<string> => kubectl("get", "-f", "examples", "-o", "jsonpath={.items[*].metadata.resourceVersion}");
      await kubectl("apply", "-f", "examples");
      const before = await versions();
      assert.match(before, /^\d+( \d+)+$/);
      const again = await kubectl("apply", "-f", "examples");
      webhook.policy.admitUnsupported = false;
      assert.doesNotMatch(again, /created/);
      // kubectl calls a Workflow configured, as defaults stand in its list of templates; the API server finds nothing to change.
      assert.equal(await versions(), before);
    });

    it("shows action, duration and state", async () => {
      assert.match(await kubectl("get", "networkchaos", "-n", "shop"), /NAME +ACTION +DURATION +INJECTED +RECOVERED +AGE/);
    });

    it("hears which volumes there are where it names none, and the experiment is there all the same", async () => {
      const manifest = join(api.kubeconfig, "..", "files.json");
      await writeFile(
        manifest,
        JSON.stringify({
          apiVersion: "chaos-mesh.org/v1alpha1",
          kind: "IOChaos",
          metadata: { name: "nowhere", namespace },
          spec: { action: "fault", errno: 28, mode: "all", selector: { pods: { [namespace]: ["served"] } }, volumePath: "/dat" },
        }),
      );
      const said = await kubectl("apply", "-f", manifest);
      assert.match(said, /iochaos.chaos-mesh.org\/nowhere created/);
      assert.match(
        said,
        /Warning: NoVolume: spec\.volumePath: Container app has no volume at "\/dat"\. Served through FUSE are "\/data" \(volume data\), "\/cache" \(volume cache\), "\/own" \(volume own\)\. So it is with 1 of 1 pod\./,
      );
    });

    it("hears of unknown fields", async () => {
      const manifest = join(api.kubeconfig, "..", "unknown.json");
      await writeFile(
        manifest,
        JSON.stringify({
          apiVersion: "chaos-mesh.org/v1alpha1",
          kind: "NetworkChaos",
          metadata: { name: "u", namespace },
          spec: { action: "partition", mode: "all", dealy: {} },
        }),
      );
      await assert.rejects(kubectl("apply", "-f", manifest), /unknown field "spec\.dealy"/);
    });
  });

  // Last, as it takes the webhooks away.
  describe("while the webhook is away", () => {
    it("holds the rules of the CRD", async () => {
      await webhook.remove();
      let error: KubeError | undefined;
      for (let attempt = 0; attempt < 50 && error?.kind !== "invalid"; attempt++) {
        error = await refusal(kube.create(networkChaos, experiment(`away-${attempt}`, { action: "partition", mode: "fixed", value: "0" })));
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      assert.match(error?.message ?? "", /mode fixed needs a value: a whole number above 0/);
    });
  });
});

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { lab } from "../../lab/node/layout.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import { scaleTo, storyCluster } from "./support/cluster.ts";
import { podProcesses } from "./support/node-processes.ts";
import { type Peers, startPeers } from "./support/peers.ts";

interface Pod {
  readonly metadata: { readonly name: string; readonly uid: string; readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: {
    readonly containers: readonly { readonly name: string; readonly image: string }[];
    readonly initContainers?: readonly { readonly name: string; readonly image: string }[];
  };
  readonly status: {
    readonly podIP: string;
    readonly conditions: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses: readonly {
      readonly name: string;
      readonly ready: boolean;
      readonly restartCount: number;
      readonly state: { readonly running?: object };
    }[];
  };
}

/** The image of pods themselves on the lab's node: one with an entrypoint of its own. */
const WITH_ENTRYPOINT = lab.pauseImage;
const SPARE = { imagePullPolicy: "IfNotPresent" };

describe("a user makes pods fail", () => {
  let peers: Peers;
  let pause: string;
  let shop: string;
  before(async () => {
    peers = await startPeers("failing-street", []);
    const cluster = await storyCluster();
    shop = cluster.peerImage;
    const path = "jsonpath={.spec.template.spec.containers[0].env[?(@.name=='SQUALL_PAUSE_IMAGE')].value}";
    pause = await cluster.kubectl(["get", "deployment", "squall-controller", "-n", "squall-system", "-o", path]);
    await peers.apply(
      {
        apiVersion: "apps/v1",
        kind: "Deployment",
        metadata: { name: "store", namespace: peers.namespace },
        spec: {
          replicas: 2,
          selector: { matchLabels: { app: "store" } },
          template: {
            metadata: { labels: { app: "store", "squall.dev/inject": "enabled" } },
            spec: {
              terminationGracePeriodSeconds: 1,
              initContainers: [{ name: "setup", image: shop, ...SPARE, command: ["true"] }],
              containers: [
                {
                  name: "store",
                  image: shop,
                  ...SPARE,
                  command: ["node", "/shop/main.ts", "store"],
                  readinessProbe: { httpGet: { path: "/price", port: 8080 }, periodSeconds: 1, failureThreshold: 2 },
                },
                { name: "quiet", image: WITH_ENTRYPOINT, ...SPARE, args: ["--", "1"] },
              ],
            },
          },
        },
      },
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "store", namespace: peers.namespace },
        spec: { selector: { app: "store" }, ports: [{ port: 8080 }] },
      },
      {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: "sleeper", namespace: peers.namespace, labels: { app: "sleeper" } },
        spec: { terminationGracePeriodSeconds: 1, containers: [{ name: "sleeper", image: shop, ...SPARE, command: ["sleep", "3600"] }] },
      },
      {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: "strict", namespace: peers.namespace, labels: { app: "strict" } },
        spec: {
          securityContext: { runAsNonRoot: true, runAsUser: 4711, seccompProfile: { type: "RuntimeDefault" } },
          containers: [
            {
              name: "strict",
              image: WITH_ENTRYPOINT,
              ...SPARE,
              args: ["--", "1"],
              resources: { limits: { memory: "16Mi" } },
              securityContext: { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } },
            },
          ],
        },
      },
    );
    await peers.waitFor("deployment/store", "Available");
    for (const pod of ["sleeper", "strict"]) await peers.waitFor(`pod/${pod}`, "Ready");
  });
  after(() => peers.remove());

  const podsOf = async (app: string): Promise<readonly Pod[]> => {
    const { items } = JSON.parse(await peers.kubectl(["get", "pods", "-n", peers.namespace, "-l", `app=${app}`, "-o", "json"])) as {
      readonly items: readonly Pod[];
    };
    return items.toSorted((one, other) => (one.metadata.uid < other.metadata.uid ? -1 : 1));
  };
  const imagesOf = ({ spec }: Pod): readonly string[] =>
    [...spec.containers, ...(spec.initContainers ?? [])].flatMap(({ name, image }) => (name === "squall-sidecar" ? [] : [image]));
  const isReady = ({ status }: Pod): boolean => status.conditions.some(({ type, status: is }) => type === "Ready" && is === "True");
  const originals = (): readonly string[] => [shop, WITH_ENTRYPOINT, shop];
  const hasImages = async (app: string, wanted: readonly string[]): Promise<boolean | string> => {
    const found = (await podsOf(app)).map(imagesOf);
    return found.every((images) => images.join() === wanted.join()) || JSON.stringify(found);
  };
  const areReady = async (app: string, wanted: boolean): Promise<boolean | string> => {
    const found = await podsOf(app);
    return found.every((pod) => isReady(pod) === wanted) || JSON.stringify(found.map(({ status }) => status));
  };
  const fail = (name: string, app: string, spec: object = {}): object => ({
    apiVersion: "chaos-mesh.org/v1alpha1",
    kind: "PodChaos",
    metadata: { name, namespace: peers.namespace },
    spec: { action: "pod-failure", mode: "all", selector: { labelSelectors: { app } }, ...spec },
  });
  const remove = (name: string): Promise<unknown> => peers.kubectl(["delete", "podchaos", name, "-n", peers.namespace, "--timeout=30s"]);
  const since = (startMs: number): string => `${((performance.now() - startMs) / 1000).toFixed(1)} s`;

  // Row P1 of Chaos Mesh's own tests.
  it("sees images of every container replaced and the pods fail, and all of it back after the deletion", async () => {
    const before = await podsOf("store");
    let startMs = performance.now();
    await peers.applyAndWait(fail("fail", "store"));
    const injected = since(startMs);
    assert.equal(await hasImages("store", [pause, pause, pause]), true);
    await waitUntil("the pods are not Ready", () => areReady("store", false), { timeoutMs: 20_000 });
    assert.equal(await peers.jsonpath("endpoints/store", "{.subsets[*].addresses[*].ip}"), "");
    const during = await podsOf("store");
    for (const { status } of during)
      assert.ok(
        status.containerStatuses.find(({ name }) => name === "quiet")?.state.running,
        "the pause image takes whatever arguments stand there",
      );
    startMs = performance.now();
    await remove("fail");
    assert.equal(await hasImages("store", originals()), true);
    const restored = since(startMs);
    await waitUntil("the pods are Ready", () => areReady("store", true), { timeoutMs: 90_000 });
    process.stdout.write(`      in force after ${injected}, images back after ${restored}, pods Ready after ${since(startMs)}\n`);
    const after = await podsOf("store");
    const identity = ({ metadata, status }: Pod): object => ({
      metadata: metadata.uid,
      ip: status.podIP,
      annotations: metadata.annotations,
    });
    assert.deepEqual(after.map(identity), before.map(identity));
  });

  // Row P2.
  it("pauses and goes on", async () => {
    await peers.applyAndWait(fail("paused", "store", { duration: "9m" }));
    const pauseWith = (value: string): Promise<unknown> =>
      peers.kubectl(["annotate", "--overwrite", "podchaos/paused", "-n", peers.namespace, `experiment.chaos-mesh.org/pause=${value}`]);
    const phase = (): Promise<string> => peers.jsonpath("podchaos/paused", "{.status.experiment.desiredPhase}");
    await pauseWith("true");
    await waitUntil("the images are back", () => hasImages("store", originals()), { timeoutMs: 30_000 });
    await waitUntil("it is stopped", async () => (await phase()) === "Stop", { timeoutMs: 10_000 });
    await pauseWith("false");
    await waitUntil("the images are replaced again", () => hasImages("store", [pause, pause, pause]), { timeoutMs: 30_000 });
    await waitUntil("it runs", async () => (await phase()) === "Run", { timeoutMs: 10_000 });
    await remove("paused");
    assert.equal(await hasImages("store", originals()), true);
  });

  it("has two on one pod, and the first to come may be the first to go", async () => {
    await peers.applyAndWait(fail("one", "store"));
    await peers.applyAndWait(fail("other", "store"));
    await remove("one");
    assert.equal(await hasImages("store", [pause, pause, pause]), true);
    await remove("other");
    assert.equal(await hasImages("store", originals()), true);
    await waitUntil("the pods are Ready", () => areReady("store", true), { timeoutMs: 90_000 });
  });

  it("gets everything back within 10 s of when a controller leads again, when none was there meanwhile", async () => {
    await peers.applyAndWait(fail("orphan", "store"));
    await scaleTo(0, "controller");
    let returnedMs: number;
    try {
      await peers.kubectl(["delete", "podchaos", "orphan", "-n", peers.namespace, "--wait=false"]);
      await peers.pause(3_000);
      assert.equal(await hasImages("store", [pause, pause, pause]), true);
    } finally {
      await scaleTo(2, "controller");
      returnedMs = performance.now();
    }
    await waitUntil("the images are back", () => hasImages("store", originals()), { timeoutMs: 10_000 });
    process.stdout.write(`      images back ${since(returnedMs)} after a controller led again\n`);
    await waitUntil(
      "the experiment is gone",
      async () => (await peers.kubectl(["get", "podchaos", "-n", peers.namespace, "-o", "name"])) === "",
      { timeoutMs: 10_000 },
    );
  });

  it("is told where nothing comes of it, as the pod stays Ready", async () => {
    await peers.applyAndWait(fail("idle", "sleeper"));
    const reason = (): Promise<string> => peers.jsonpath("podchaos/idle", "{.status.experiment.containerRecords[0].reason}");
    await waitUntil("the record says so", async () => (await reason()) === "StillReady" || (await reason()), { timeoutMs: 20_000 });
    await remove("idle");
    assert.equal(await hasImages("sleeper", [shop]), true);
  });

  it("fails a pod with every restriction and little memory, whose pause ends at once when told to", async () => {
    await peers.applyAndWait(fail("strict", "strict"));
    const [pod] = await podsOf("strict");
    assert.deepEqual(
      pod?.status.containerStatuses.map(({ state }) => state.running !== undefined),
      [true],
    );
    const [pid] = podProcesses(pod?.metadata.uid ?? "", "perl");
    const [, kilobytes = ""] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    assert.ok(Number(kilobytes) < 10_000, `${kilobytes} kB`);
    const startMs = performance.now();
    await peers.kubectl(["delete", "pod", "strict", "-n", peers.namespace, "--timeout=25s"]);
    process.stdout.write(`      the pause has ${kilobytes} kB of memory; its pod went within ${since(startMs)} of 30 s\n`);
    assert.ok(performance.now() - startMs < 10_000, "it did not end when it was told to");
    await remove("strict");
  });
});

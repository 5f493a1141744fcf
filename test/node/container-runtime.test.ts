import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { systemClock } from "../../common/clock.ts";
import { silentLog } from "../../common/log.ts";
import { connectRuntime } from "../../daemon/runtime/connect-runtime.ts";
import type { ContainerRuntime } from "../../daemon/runtime/container-runtime.ts";
import { ensurePackages } from "../../lab/packages.ts";
import { isAlive } from "../../lab/process-table.ts";
import { createProgress } from "../../lab/progress.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import { type Containerd, createContainerd } from "./support/containerd.ts";
import { listTraces } from "./support/containerd-traces.ts";
import { createPods, type Pods } from "./support/pods.ts";

const CART = "6f1c6f38-5c1e-4a58-9c39-1a1111111111";
const BASKET = "6f1c6f38-5c1e-4a58-9c39-1a2222222222";

describe("the container runtime, a real containerd", () => {
  let containerd: Containerd;
  let pods: Pods;
  let runtime: ContainerRuntime;
  let told: string[];

  before(async function () {
    this.timeout(300_000);
    const isRoot = process.getuid?.() === 0;
    await ensurePackages(["containerd", "runc", "tini"], { isRoot, progress: createProgress(process.stderr) });
    containerd = await createContainerd();
  });
  after(async () => {
    await containerd.close();
    assert.deepEqual(await listTraces(containerd), []);
  });
  beforeEach(() => {
    pods = createPods(containerd);
    told = [];
    const tell = (_fields: object, message: string): void => void told.push(message);
    runtime = connectRuntime({ hostRun: containerd.hostRun, clock: systemClock, log: { ...silentLog, info: tell, warn: tell } });
  });
  afterEach(async () => {
    runtime.close();
    await pods.removeAll();
    pods.close();
  });

  const pidsByName = async (): Promise<Readonly<Record<string, number>>> =>
    Object.fromEntries((await runtime.list()).map(({ pod, container, pid }) => [`${pod}/${container}`, pid]));

  it("finds the container of each name in each pod, and kills exactly one", async () => {
    const [appId = "", proxyId = ""] = await pods.run({ uid: CART, name: "cart", containers: ["app", "proxy"] });
    const [otherId] = await pods.run({ uid: BASKET, name: "basket", containers: ["app", "proxy"] });
    const app = await runtime.find({ podUid: CART, container: "app" });
    assert.deepEqual([app?.id, app?.namespace, app?.pod], [appId, "shop", "cart"]);
    assert.ok(Math.abs((app?.startedAtMs ?? 0) - Date.now()) < 30_000);
    assert.equal((await runtime.find({ podUid: BASKET, container: "app" }))?.id, otherId);
    assert.equal(await runtime.find({ podUid: CART, container: "db" }), undefined);
    const before = await pidsByName();
    assert.deepEqual(Object.keys(before).toSorted(), ["basket/app", "basket/proxy", "cart/app", "cart/proxy"]);
    assert.match(await readFile(`/proc/${app?.pid}/cgroup`, "utf8"), new RegExp(`/${containerd.cgroup}/${CART}/${appId}$`, "m"));

    await assert.rejects(runtime.kill({ podUid: BASKET, container: "app", id: appId }), {
      kind: "wrong-target",
      message: `${appId} is container app of pod shop/cart with UID ${CART}, not container app of the pod with UID ${BASKET}. Nothing was killed.`,
    });
    await assert.rejects(runtime.kill({ podUid: CART, container: "app", id: proxyId }), { kind: "wrong-target" });
    await assert.rejects(runtime.kill({ podUid: CART, container: "app", id: `docker://${appId}` }), { kind: "invalid" });
    assert.deepEqual(await pidsByName(), before);

    assert.equal(await runtime.kill({ podUid: CART, container: "app", id: `containerd://${appId}` }), "killed");
    const { "cart/app": killed, ...others } = before;
    assert.equal(await isAlive(killed ?? 0), false);
    assert.deepEqual(await pidsByName(), others);
    assert.equal(await runtime.find({ podUid: CART, container: "app" }), undefined);
    assert.equal(await runtime.kill({ podUid: CART, container: "app", id: `containerd://${appId}` }), "gone");
  });

  it("leaves the container alone that was started in the place of the one that was meant", async () => {
    const [id = ""] = await pods.run({ uid: CART, name: "cart", containers: ["app"] });
    await runtime.kill({ podUid: CART, container: "app", id });
    const next = await pods.startAgain(CART, "app");
    const found = await runtime.find({ podUid: CART, container: "app" });
    assert.equal(found?.id, next);
    assert.equal(await runtime.kill({ podUid: CART, container: "app", id }), "gone");
    assert.deepEqual(await runtime.find({ podUid: CART, container: "app" }), found);
  });

  it("lists the pod that runs without one of its containers", async () => {
    const [, id = ""] = await pods.run({ uid: CART, name: "cart", containers: ["app", "squall-sidecar"] });
    await pods.run({ uid: BASKET, name: "basket", containers: ["app"] });
    assert.deepEqual(await runtime.listWithout("squall-sidecar"), []);
    await runtime.kill({ podUid: CART, container: "squall-sidecar", id });
    assert.deepEqual(await runtime.listWithout("squall-sidecar"), [{ podUid: CART, namespace: "shop", pod: "cart" }]);
    await pods.startAgain(CART, "squall-sidecar");
    assert.deepEqual(await runtime.listWithout("squall-sidecar"), []);
  });

  it("tells the pid of a pod's sandbox", async () => {
    await pods.run({ uid: CART, name: "cart", containers: [] });
    const pid = await runtime.sandboxPid(CART);
    assert.match(await readFile(`/proc/${pid}/cgroup`, "utf8"), new RegExp(`/${containerd.cgroup}/${CART}/`));
    assert.equal(await runtime.sandboxPid(BASKET), undefined);
  });

  it("says that containerd is away, and finds the same containers when it is back", async () => {
    await pods.run({ uid: CART, name: "cart", containers: ["app"] });
    const before = await runtime.find({ podUid: CART, container: "app" });
    assert.ok(before !== undefined);
    await containerd.stop();
    for (let turn = 0; turn < 2; turn += 1)
      await assert.rejects(runtime.find({ podUid: CART, container: "app" }), { kind: "unavailable", isTransient: true });
    assert.match(runtime.outage ?? "", /containerd\.sock: Version: cannot be reached/);
    assert.equal(await isAlive(before.pid), true);
    await containerd.start();
    await waitUntil("it does not come back by itself", () => runtime.outage === undefined, { timeoutMs: 15_000 });
    assert.deepEqual(await runtime.find({ podUid: CART, container: "app" }), before);
    assert.deepEqual(told, [
      "the container runtime answers",
      "the container runtime does not answer; it is looked for again",
      "the container runtime answers",
    ]);
  });
});

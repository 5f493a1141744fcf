import assert from "node:assert/strict";
import { isKubeError, KubeError } from "../../kube/errors.ts";
import type { WatchEvent } from "../../kube/kube.ts";
import { configMaps, leases, type Pod, pods, tokenReviews } from "../../kube/resources.ts";
import { FakeKube } from "../support/fake-kube.ts";

const pod = (name: string, more: object = {}) => ({
  metadata: { name, namespace: "shop" },
  spec: { containers: [{ name: "app" }], ...more },
});
const cart = { namespace: "shop", name: "cart" };

async function take<T>(events: AsyncIterable<T>, count: number): Promise<readonly T[]> {
  const taken: T[] = [];
  for await (const event of events) if (taken.push(event) === count) break;
  return taken;
}
const describeEvent = (event: WatchEvent<Pod>): string =>
  event.type === "BOOKMARK" ? event.type : `${event.type} ${event.object.metadata.name}`;

describe("FakeKube", () => {
  it("numbers versions, refuses a second create, and knows what is not there", async () => {
    const kube = new FakeKube();
    const made = await kube.create(pods, pod("cart"));
    const other = await kube.create(pods, pod("web"));
    assert.ok(Number(other.metadata.resourceVersion) > Number(made.metadata.resourceVersion));
    assert.notEqual(made.metadata.uid, other.metadata.uid);
    await assert.rejects(kube.create(pods, pod("cart")), (error) => isKubeError(error, "already-exists"));
    await assert.rejects(kube.get(pods, { namespace: "shop", name: "none" }), (error) => isKubeError(error, "not-found"));
  });

  it("refuses a patch made for another version and accepts it for this one", async () => {
    const kube = new FakeKube();
    const made = await kube.create(leases, { metadata: { name: "leader", namespace: "shop" }, spec: {} });
    const ref = { namespace: "shop", name: "leader" };
    const patch = { metadata: { resourceVersion: made.metadata.resourceVersion }, spec: { holderIdentity: "a" } };
    assert.equal((await kube.patch(leases, ref, patch, { type: "merge" })).spec.holderIdentity, "a");
    await assert.rejects(kube.patch(leases, ref, { ...patch, spec: { holderIdentity: "b" } }, { type: "merge" }), (error) =>
      isKubeError(error, "conflict"),
    );
  });

  it("keeps status and spec apart, and counts generations of the spec only", async () => {
    const kube = new FakeKube();
    await kube.create(pods, { ...pod("cart"), status: { phase: "Running" } });
    assert.equal((await kube.get(pods, cart)).status.phase, undefined);
    const withStatus = await kube.patch(
      pods,
      cart,
      { status: { phase: "Running" }, spec: { nodeName: "n" } },
      { type: "merge", subresource: "status" },
    );
    assert.deepEqual([withStatus.status.phase, withStatus.spec.nodeName, withStatus.metadata.generation], ["Running", undefined, 1]);
    const withSpec = await kube.patch(pods, cart, { status: { phase: "Failed" }, spec: { nodeName: "n" } }, { type: "merge" });
    assert.deepEqual([withSpec.status.phase, withSpec.spec.nodeName, withSpec.metadata.generation], ["Running", "n", 2]);
  });

  it("makes no new version of a patch that changes nothing", async () => {
    const kube = new FakeKube();
    const made = await kube.create(pods, pod("cart"));
    const same = await kube.patch(pods, cart, { metadata: { labels: null } }, { type: "merge" });
    assert.equal(same.metadata.resourceVersion, made.metadata.resourceVersion);
  });

  it("keeps an object with finalizers until the last one is gone", async () => {
    const kube = new FakeKube();
    kube.seed(pods, { ...pod("cart"), metadata: { ...cart, finalizers: ["a"] } });
    await kube.delete(pods, cart);
    assert.notEqual((await kube.get(pods, cart)).metadata.deletionTimestamp, undefined);
    await kube.patch(pods, cart, [{ op: "remove", path: "/metadata/finalizers/0" }], { type: "json" });
    await assert.rejects(kube.get(pods, cart), (error) => isKubeError(error, "not-found"));
  });

  it("gives a pod on a node its grace period and refuses to delete one of another UID", async () => {
    const kube = new FakeKube();
    kube.seed(pods, pod("cart", { nodeName: "n" }));
    await assert.rejects(kube.delete(pods, cart, { uid: "other" }), (error) => isKubeError(error, "conflict"));
    await kube.delete(pods, cart);
    assert.notEqual((await kube.get(pods, cart)).metadata.deletionTimestamp, undefined);
    await kube.delete(pods, cart, { gracePeriodSeconds: 0 });
    assert.equal(kube.peek(pods, cart), undefined);
  });

  it("watches from a version, with selectors, bookmarks and an end", async () => {
    const kube = new FakeKube();
    const { resourceVersion } = await kube.list(pods);
    kube.seed(pods, { ...pod("cart"), metadata: { ...cart, labels: { app: "cart" } } });
    kube.seed(pods, pod("web"));
    const seen = take(kube.watch(pods, { resourceVersion, labelSelector: "app in (cart, web)" }, AbortSignal.timeout(1000)), 3);
    await new Promise(setImmediate);
    await kube.patch(pods, cart, { metadata: { labels: { app: "other" } } }, { type: "merge" });
    kube.bookmark();
    assert.deepEqual((await seen).map(describeEvent), ["ADDED cart", "DELETED cart", "BOOKMARK"]);
    assert.equal(kube.openWatches, 0);
  });

  it("answers 410 to a watch from before a compaction", async () => {
    const kube = new FakeKube();
    const { resourceVersion } = await kube.list(pods);
    kube.seed(pods, pod("cart"));
    kube.compact();
    await assert.rejects(take(kube.watch(pods, { resourceVersion }, AbortSignal.timeout(1000)), 1), (error) => isKubeError(error, "gone"));
  });

  it("applies: makes what is missing, merges the rest, and drops what the same manager leaves out", async () => {
    const kube = new FakeKube();
    const ref = { namespace: "shop", name: "settings" };
    const apply = (manager: string, data: object) =>
      kube.patch(configMaps, ref, { metadata: ref, data }, { type: "apply", fieldManager: manager });
    await apply("one", { a: "1", b: "2" });
    await apply("two", { c: "3" });
    assert.deepEqual((await apply("one", { a: "4" })).data, { a: "4", c: "3" });
  });

  it("fails on demand, before the change or after it", async () => {
    const kube = new FakeKube();
    const error = new KubeError("unavailable", "injected");
    kube.fail({ verb: "create", plural: "pods", error });
    await assert.rejects(kube.create(pods, pod("cart")), error);
    assert.equal(kube.peek(pods, cart), undefined);
    kube.fail({ verb: "create", plural: "pods", error, when: "after" });
    await assert.rejects(kube.create(pods, pod("cart")), error);
    assert.notEqual(kube.peek(pods, cart), undefined);
    assert.equal(kube.requests.length, 2);
  });

  it("answers reviews with what the test says", async () => {
    const kube = new FakeKube();
    kube.answer(tokenReviews, (body) => ({ ...body, status: { authenticated: true } }));
    assert.equal((await kube.create(tokenReviews, { metadata: {}, spec: { token: "t" } })).status.authenticated, true);
  });
});

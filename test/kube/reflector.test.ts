import assert from "node:assert/strict";
import { silentLog } from "../../common/log.ts";
import { KubeError } from "../../kube/errors.ts";
import type { ListOptions } from "../../kube/kube.ts";
import { Reflector } from "../../kube/reflector.ts";
import { type Pod, pods } from "../../kube/resources.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { FakeKube } from "../support/fake-kube.ts";

const pod = (name: string, labels: Record<string, string> = {}, nodeName = "n1") => ({
  metadata: { name, namespace: "shop", labels },
  spec: { nodeName, containers: [] },
});
const cart = { namespace: "shop", name: "cart" };

describe("Reflector", () => {
  let clock: FakeClock;
  let kube: FakeKube;
  let reflector: Reflector<Pod>;
  let changes: string[];

  function build(scope?: ListOptions): Reflector<Pod> {
    reflector = new Reflector({ kube, resource: pods, scope, clock, log: silentLog, random: () => 1 });
    reflector.onChange((key) => changes.push(key));
    return reflector;
  }
  async function started(): Promise<Reflector<Pod>> {
    build().start();
    await reflector.synced();
    await settle();
    changes.length = 0;
    return reflector;
  }

  beforeEach(() => {
    clock = new FakeClock();
    kube = new FakeKube({ now: () => clock.now() });
    changes = [];
  });
  afterEach(() => reflector.close());

  it("has everything once it is synced, and tells each key", async () => {
    kube.seed(pods, pod("cart"));
    kube.seed(pods, pod("web"));
    build().start();
    assert.equal(reflector.isSynced, false);
    await reflector.synced();
    await settle();
    assert.deepEqual(changes, ["shop/cart", "shop/web"]);
    assert.equal(reflector.get("shop/cart")?.metadata.name, "cart");
    assert.equal(reflector.list("shop").length, 2);
    assert.deepEqual(reflector.list("other"), []);
  });

  it("follows additions, changes and deletions", async () => {
    await started();
    kube.seed(pods, pod("cart"));
    await settle();
    assert.notEqual(reflector.get("shop/cart"), undefined);
    await kube.patch(pods, cart, { metadata: { labels: { a: "b" } } }, { type: "merge" });
    await settle();
    assert.equal(reflector.get("shop/cart")?.metadata.labels?.["a"], "b");
    kube.remove(pods, cart);
    await settle();
    assert.equal(reflector.get("shop/cart"), undefined);
    assert.deepEqual(changes, ["shop/cart", "shop/cart", "shop/cart"]);
  });

  it("hears of all others while an object cannot be read, keeps the copy that it had of it, and hears of its deletion", async () => {
    const unreadable = { ...pod("cart"), status: { phase: "Running", podIPs: "none" } };
    const readable = (): readonly string[] => reflector.list().map(({ metadata }) => metadata.name);
    kube.seed(pods, { ...unreadable, metadata: { ...unreadable.metadata, name: "never" } });
    kube.seed(pods, pod("cart"));
    await started();
    assert.deepEqual(readable(), ["cart"]);
    const { metadata } = reflector.get("shop/cart") ?? assert.fail();
    kube.seed(pods, unreadable);
    kube.seed(pods, pod("web"));
    await settle();
    assert.deepEqual(readable(), ["cart", "web"]);
    kube.fail({ verb: "watch", error: new KubeError("gone", "compacted") });
    kube.endWatches();
    await clock.advance(60_000);
    assert.equal(kube.requests.filter(({ verb }) => verb === "list").length, 2);
    assert.deepEqual(readable(), ["cart", "web"]);
    assert.equal(reflector.get("shop/cart")?.metadata.resourceVersion, metadata.resourceVersion);
    kube.remove(pods, cart);
    await settle();
    assert.deepEqual(readable(), ["web"]);
    // another one of the same name, whose predecessor was not seen to go
    kube.fail({ verb: "watch", error: new KubeError("gone", "compacted") });
    kube.endWatches();
    await settle();
    kube.remove(pods, { namespace: "shop", name: "web" });
    kube.seed(pods, { ...unreadable, metadata: { ...unreadable.metadata, name: "web" } });
    await clock.advance(60_000);
    assert.deepEqual(readable(), []);
  });

  it("knows nothing rather than a part where it must read all", async () => {
    kube.seed(pods, { ...pod("cart"), status: { phase: "Running", podIPs: "none" } });
    reflector = new Reflector({ kube, resource: pods, clock, log: silentLog, random: () => 1, mustReadAll: true });
    reflector.start();
    await clock.advance(60_000);
    assert.equal(reflector.isSynced, false);
  });

  it("watches on from where a watch ended, without listing again", async () => {
    await started();
    await clock.advance(300_000);
    kube.endWatches();
    await settle();
    kube.seed(pods, pod("cart"));
    await settle();
    assert.deepEqual(changes, ["shop/cart"]);
    assert.equal(kube.requests.filter(({ verb }) => verb === "list").length, 1);
  });

  it("starts from the last bookmark, so that a quiet kind is not listed again after a compaction", async () => {
    await started();
    kube.seed({ ...pods, plural: "others" }, pod("noise"));
    kube.compact();
    kube.bookmark();
    await clock.advance(300_000);
    kube.endWatches();
    await settle();
    assert.equal(kube.openWatches, 1);
    assert.equal(kube.requests.filter(({ verb }) => verb === "list").length, 1);
  });

  it("lists again after 410 and tells what changed meanwhile, once each", async () => {
    kube.seed(pods, pod("kept"));
    kube.seed(pods, pod("gone"));
    kube.seed(pods, pod("changed"));
    await started();
    kube.fail({ verb: "watch", error: new KubeError("unavailable", "away") });
    kube.endWatches(new KubeError("unavailable", "cut"));
    await settle();
    kube.remove(pods, { namespace: "shop", name: "gone" });
    kube.seed(pods, pod("changed", { a: "b" }));
    kube.seed(pods, pod("new"));
    kube.compact();
    await clock.advance(60_000);
    assert.deepEqual(changes.toSorted(), ["shop/changed", "shop/gone", "shop/new"]);
    assert.equal(reflector.size, 3);
    assert.equal(kube.requests.filter(({ verb }) => verb === "list").length, 2);
  });

  it("comes back by itself after any failure, ever less often", async () => {
    kube.fail({ verb: "list", times: 100, error: new KubeError("unavailable", "down") });
    build().start();
    await clock.advance(600_000);
    const attempts = kube.requests.length;
    assert.ok(attempts > 50 && attempts < 75, `${attempts} attempts in ten minutes`);
    assert.equal(reflector.isSynced, false);
    await clock.advance(100 * 30_000);
    assert.equal(reflector.isSynced, true);
  });

  it("does not ask in a tight loop when the server ends each watch at once", async () => {
    await started();
    for (let second = 0; second < 60; second += 1) {
      kube.endWatches();
      await clock.advance(1_000);
    }
    assert.ok(kube.requests.filter(({ verb }) => verb === "watch").length < 15);
  });

  it("waits as long as the server asks", async () => {
    kube.fail({ verb: "list", error: new KubeError("too-many-requests", "busy", { retryAfterMs: 20_000 }) });
    build().start();
    await clock.advance(19_999);
    assert.equal(reflector.isSynced, false);
    await clock.advance(1);
    assert.equal(reflector.isSynced, true);
  });

  it("survives a handler that throws, and tells the others", async () => {
    build();
    const told: string[] = [];
    reflector.onChange(() => {
      throw new Error("boom");
    });
    reflector.onChange((key) => told.push(key));
    reflector.start();
    await reflector.synced();
    kube.seed(pods, pod("cart"));
    kube.seed(pods, pod("web"));
    await settle();
    assert.deepEqual(told, ["shop/cart", "shop/web"]);
  });

  it("says how long the server has been silent", async () => {
    build();
    assert.equal(reflector.silentMs, undefined);
    reflector.start();
    await settle();
    await clock.advance(70_000);
    assert.equal(reflector.silentMs, 70_000);
    kube.bookmark();
    await settle();
    assert.equal(reflector.silentMs, 0);
  });

  it("finds objects by the values of an index, also after they changed", async () => {
    const onNode = build().addIndex(({ spec }) => (spec.nodeName === undefined ? [] : [spec.nodeName]));
    reflector.start();
    kube.seed(pods, pod("cart", {}, "n1"));
    kube.seed(pods, pod("web", {}, "n1"));
    await reflector.synced();
    await settle();
    assert.deepEqual(
      onNode("n1").map(({ metadata }) => metadata.name),
      ["cart", "web"],
    );
    kube.seed(pods, pod("cart", {}, "n2"));
    kube.remove(pods, { namespace: "shop", name: "web" });
    await settle();
    assert.deepEqual([onNode("n1").length, onNode("n2").length, onNode("n3").length], [0, 1, 0]);
  });

  it("tells of an object that left its selector as of one that went", async () => {
    build({ labelSelector: "squall.dev/inject=enabled" }).start();
    kube.seed(pods, pod("cart", { "squall.dev/inject": "enabled" }));
    await reflector.synced();
    await settle();
    kube.seed(pods, pod("cart"));
    await settle();
    assert.equal(reflector.size, 0);
    assert.deepEqual(changes, ["shop/cart", "shop/cart"]);
  });

  it("ends its watch on close, and whoever waited for the first list hears of it", async () => {
    await started();
    await reflector.close();
    await settle();
    assert.equal(kube.openWatches, 0);
    const other = build();
    await other.close();
    await assert.rejects(other.synced(), /closed/);
  });
});

import assert from "node:assert/strict";
import { silentLog } from "../../common/log.ts";
import { detachVolumes } from "../../controller/uninstall/detach-volumes.ts";
import { keepHolds, releaseAll } from "../../controller/uninstall/holds.ts";
import { KubeError } from "../../kube/errors.ts";
import type { KubeObject, ObjectRef, Resource } from "../../kube/kube.ts";
import {
  clusterRoleBindings,
  clusterRoles,
  deployments,
  leases,
  nodes,
  roleBindings,
  roles,
  serviceAccounts,
} from "../../kube/resources.ts";
import { FakeAgent } from "../support/fake-agent.ts";
import { ExperimentCluster } from "../support/experiment-cluster.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { FakeKube } from "../support/fake-kube.ts";

const name = "squall-controller";
const own = { namespace: "squall-system", name };
const FINALIZER = "squall.dev/uninstall";

describe("volumes while Squall is uninstalled", () => {
  it("are taken off every node that has a daemon, whatever one of them says", async () => {
    const clock = new FakeClock();
    const agents = new Map(["node/n1", "node/n2", "node/n3"].map((uid) => [uid, new FakeAgent(uid, clock)]));
    const agentOf = (uid: string): FakeAgent => agents.get(uid) ?? assert.fail(uid);
    agentOf("node/n2").failure = "the node is away";
    const world = {
      nodes: () => ["n1", "n2", "n3", "n4"].map((node) => nodes.parse({ metadata: { name: node, uid: node } })),
      locate: (uid: string) => (agents.has(uid) ? { uid, uri: `spiffe://squall/${uid}`, address: "10.0.0.1" } : ("nowhere" as const)),
    };
    const deps = { world, dial: ({ uid }: { readonly uid: string }) => agentOf(uid).connect(), epoch: 3, clock, log: silentLog };
    const { signal } = new AbortController();
    await detachVolumes(deps, { byMs: clock.monotonicMs() }, signal);
    assert.equal(agentOf("node/n1").isDetached, false, "there was no time");
    await detachVolumes(deps, { byMs: clock.monotonicMs() + 1 }, signal);
    assert.deepEqual(
      [...agents.values()].map(({ isDetached }) => isDetached),
      [true, false, true],
    );
  });
});

describe("experiments while Squall is uninstalled", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());

  async function beginDeletion(what: readonly ("account" | "role" | "deployment")[]): Promise<void> {
    const metadata = { deletionTimestamp: cluster.clock.now().toISOString(), finalizers: [FINALIZER] };
    if (what.includes("account")) cluster.kube.seed(serviceAccounts, { metadata: { ...own, ...metadata } });
    if (what.includes("deployment")) cluster.kube.seed(deployments, { metadata: { ...own, ...metadata } });
    if (what.includes("role")) cluster.kube.seed(clusterRoles, { metadata: { name, ...metadata } });
    await cluster.pass(100);
  }

  it("recover at once, say so, and are let go though nobody deletes them", async () => {
    const uid = cluster.addPod("a");
    await cluster.partition("cut");
    assert.equal(cluster.agents.of(uid).inForce.length, 1);
    await beginDeletion(["account", "role"]);
    await cluster.pass(1_000);
    assert.deepEqual(cluster.agents.of(uid).inForce, []);
    const { metadata, status } = cluster.experiment("cut");
    assert.deepEqual(metadata.finalizers ?? [], []);
    assert.equal(metadata.deletionTimestamp, undefined);
    assert.equal(status.experiment.desiredPhase, "Stop");
    assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected"]);
    assert.ok(cluster.events("cut").includes("Uninstalled: Squall is being uninstalled"));
    const writes = cluster.writes.length;
    await cluster.pass(60_000);
    assert.deepEqual(cluster.writes.slice(writes), [], "nothing is picked up again");
  });

  it("do not start any more", async () => {
    const uid = cluster.addPod("a");
    await beginDeletion(["account", "role"]);
    await cluster.partition("late");
    await cluster.pass(1_000);
    assert.deepEqual(cluster.agents.of(uid).accepted, []);
    assert.deepEqual(cluster.experiment("late").metadata.finalizers ?? [], []);
  });

  it("are let go after 40 s where nobody answers, deleted or not, whatever their lease", async () => {
    for (const pod of ["a", "b"]) cluster.addPod(pod, { labels: { app: pod } });
    const spec = (app: string) => ({ selector: { namespaces: ["shop"], labelSelectors: { app } } });
    await cluster.partition("deleted", spec("a"), { "squall.dev/lease": "1h" });
    await cluster.partition("kept", spec("b"), { "squall.dev/lease": "1h" });
    for (const pod of ["a", "b"]) cluster.agents.of(cluster.pod(pod).metadata.uid).isReachable = false;
    await cluster.delete("deleted");
    await beginDeletion(["account", "role"]);
    await cluster.pass(38_000);
    assert.notEqual(cluster.find("deleted"), undefined);
    assert.deepEqual(cluster.experiment("kept").metadata.finalizers, ["chaos-mesh/records"]);
    await cluster.pass(3_000);
    assert.equal(cluster.find("deleted"), undefined);
    assert.deepEqual(cluster.experiment("kept").metadata.finalizers ?? [], []);
    assert.equal(cluster.unconfirmed, 2);
  });

  for (const what of ["account", "role", "deployment"] as const) {
    it(`go on when only the ${what} is deleted`, async () => {
      const uid = cluster.addPod("a");
      await cluster.partition("cut");
      await beginDeletion([what]);
      await cluster.pass(60_000);
      assert.equal(cluster.agents.of(uid).inForce.length, 1);
      assert.deepEqual(cluster.experiment("cut").metadata.finalizers, ["chaos-mesh/records"]);
    });
  }
});

describe("what an uninstallation needs", () => {
  const held: readonly (readonly [resource: Resource<KubeObject>, ref: ObjectRef])[] = [
    "squall-controller",
    "squall-controller-guarded",
  ].flatMap((rights) => [
    [clusterRoles, { name: rights }] as const,
    [clusterRoleBindings, { name: rights }] as const,
    [roles, { ...own, name: rights }] as const,
    [roleBindings, { ...own, name: rights }] as const,
  ]);
  const ofImages = [
    [clusterRoles, { name: "squall-podchaos-guarded" }] as const,
    [clusterRoleBindings, { name: "squall-podchaos-guarded" }] as const,
  ];
  const all = [...ofImages, ...held, [serviceAccounts, own] as const, [deployments, own] as const];
  let clock: FakeClock;
  let kube: FakeKube;
  let end: AbortController;
  let keeping: Promise<void>;
  let change = (): void => undefined;
  const lines: string[] = [];

  const start = async (): Promise<void> => {
    const notice = {
      onChange(handler: () => void) {
        change = handler;
        return () => undefined;
      },
    };
    const log = { ...silentLog, info: (_: object, message: string) => void lines.push(message) };
    keeping = keepHolds({ kube, notice, clock, log, signal: end.signal });
    await settle();
  };
  const finalizersOf = (resource: Resource<unknown>, ref: ObjectRef): unknown =>
    (kube.peek(resource, ref)?.["metadata"] as { finalizers?: unknown } | undefined)?.finalizers;

  beforeEach(() => {
    clock = new FakeClock();
    kube = new FakeKube({ now: () => clock.now() });
    end = new AbortController();
    lines.length = 0;
    for (const [resource, ref] of all) kube.seed(resource, { metadata: { ...ref } });
  });
  afterEach(async () => {
    end.abort();
    await keeping;
  });

  it("gets our finalizer beside others, once", async () => {
    kube.seed(deployments, { metadata: { ...own, finalizers: ["example.com/theirs"] } });
    await start();
    for (const [resource, ref] of all)
      assert.deepEqual(
        finalizersOf(resource, ref),
        [...(resource === deployments ? ["example.com/theirs"] : []), FINALIZER],
        resource.kind,
      );
    const writes = kube.requests.filter(({ verb }) => verb === "patch").length;
    await clock.advance(120_000);
    assert.equal(kube.requests.filter(({ verb }) => verb === "patch").length, writes);
  });

  it("gets it back when somebody takes it off", async () => {
    await start();
    await kube.patch(serviceAccounts, own, { metadata: { finalizers: null } }, { type: "merge" });
    await clock.advance(30_000);
    assert.deepEqual(finalizersOf(serviceAccounts, own), [FINALIZER]);
  });

  it("is let go 10 s after a part of it was deleted, when the rest is not", async () => {
    await start();
    await kube.delete(deployments, own);
    change();
    await settle();
    await clock.advance(9_000);
    assert.notEqual(kube.peek(deployments, own), undefined);
    await clock.advance(2_000);
    assert.equal(kube.peek(deployments, own), undefined);
    for (const [resource, ref] of held) assert.deepEqual(finalizersOf(resource, ref), [FINALIZER]);
  });

  it("is not let go when the rest follows", async () => {
    await start();
    await kube.delete(deployments, own);
    change();
    await clock.advance(5_000);
    end.abort();
    await keeping;
    assert.notEqual(kube.peek(deployments, own), undefined);
  });

  it("is left alone where the rights for it were not installed", async () => {
    kube.fail({ verb: "get", plural: "clusterroles", error: new KubeError("forbidden", "no"), times: 100 });
    await start();
    assert.deepEqual(lines, ["no right to hold what an uninstallation needs: delete experiments first"]);
    assert.equal(finalizersOf(deployments, own), undefined);
  });

  it("is let go at the end, the Lease with it, what keeps this process alive last", async () => {
    await start();
    kube.seed(leases, { metadata: { ...own } });
    for (const [resource, ref] of all) await kube.delete(resource, ref);
    kube.seed(roles, { metadata: { ...own, finalizers: ["example.com/theirs", FINALIZER], deletionTimestamp: clock.now().toISOString() } });
    const before = kube.requests.length;
    await releaseAll(kube, new AbortController().signal);
    for (const [resource, ref] of all) {
      if (resource === roles && ref.name === name) assert.deepEqual(finalizersOf(resource, ref), ["example.com/theirs"]);
      else assert.equal(kube.peek(resource, ref), undefined, `${resource.kind} ${ref.name}`);
    }
    assert.equal(kube.peek(leases, own), undefined);
    const changes = kube.requests.slice(before).filter(({ verb }) => verb === "patch" || verb === "delete");
    assert.equal(changes.length, all.length + 1);
    assert.deepEqual(
      changes.slice(-2).map(({ plural }) => plural),
      ["serviceaccounts", "deployments"],
    );
    // a second leader that finds it done
    await releaseAll(kube, new AbortController().signal);
  });

  it("is let go to the end, though the leadership ends with the Lease", async () => {
    await start();
    kube.seed(leases, { metadata: { ...own } });
    for (const [resource, ref] of all) await kube.delete(resource, ref);
    const { promise: until, resolve } = Promise.withResolvers<void>();
    kube.fail({ verb: "patch", plural: "serviceaccounts", until });
    const leadership = new AbortController();
    const releasing = releaseAll(kube, leadership.signal);
    await settle();
    leadership.abort(new Error("no longer leading"));
    resolve();
    await releasing;
    for (const [resource, ref] of all) assert.equal(kube.peek(resource, ref), undefined, `${resource.kind} ${ref.name}`);
  });
});

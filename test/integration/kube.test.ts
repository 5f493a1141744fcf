import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { systemClock } from "../../common/clock.ts";
import { silentLog } from "../../common/log.ts";
import { type ConnectOptions, connectKube, type KubeConnection } from "../../kube/client.ts";
import { isKubeError } from "../../kube/errors.ts";
import type { Change, WatchEvent } from "../../kube/kube.ts";
import { LeaderElector } from "../../kube/lease.ts";
import { Reflector } from "../../kube/reflector.ts";
import {
  type ConfigMap,
  configMaps,
  events,
  leases,
  namespaces,
  pods,
  roleBindings,
  roles,
  secrets,
  serviceAccounts,
} from "../../kube/resources.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import { accountKubeconfig, adminKubectl } from "./support/installation.ts";
import { startTestApiServer, type TestApiServer } from "../support/api-server.ts";

const describeEvent = (event: WatchEvent<ConfigMap>): string =>
  event.type === "BOOKMARK" ? event.type : `${event.type} ${event.object.metadata.name}`;

/** Open TCP connections of this network namespace to a port of 127.0.0.1. */
function connectionsTo(port: number): number {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const isOpenTo = (line: string): boolean => {
    const [, , remote = "", state] = line.trim().split(/\s+/);
    return remote.endsWith(suffix) && state === "01";
  };
  return readFileSync("/proc/self/net/tcp", "utf8").split("\n").filter(isOpenTo).length;
}

/** Has etcd forget all revisions before this one. */
async function compact(server: TestApiServer, revision: number): Promise<void> {
  const commandLines = server.pids.map((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8"));
  const etcd = /--etcd-servers=([^\0]+)/.exec(commandLines.join("\0"))?.[1] ?? assert.fail("the API server names its etcd");
  const answer = await fetch(`${etcd}/v3/kv/compaction`, { method: "POST", body: JSON.stringify({ revision, physical: true }) });
  assert.equal(answer.status, 200, await answer.text());
}

describe("kube/ against a real API server", () => {
  let server: TestApiServer;
  let kube: KubeConnection;
  const open: { close(): Promise<void> }[] = [];
  const connect = (options: Partial<ConnectOptions> = {}): KubeConnection => {
    const connection = connectKube({ process: "test", version: "1.2.3", kubeconfig: server.kubeconfig, ...options });
    open.push(connection);
    return connection;
  };
  const named = (name: string, data: Record<string, string> = {}) => ({ metadata: { namespace: "kube-room", name }, data });
  const ref = (name: string) => ({ namespace: "kube-room", name });

  before(async () => {
    server = await startTestApiServer();
    kube = connect();
    await kube.create(namespaces, { metadata: { name: "kube-room" } });
  });
  after(async () => {
    await Promise.all(open.map((thing) => thing.close()));
    await server.close();
  });

  describe("changes made together", () => {
    const rules = [
      { apiGroups: [""], resources: ["configmaps"], verbs: ["patch", "delete"] },
      { apiGroups: ["rbac.authorization.k8s.io"], resources: ["roles", "rolebindings"], verbs: ["delete"] },
    ];
    const subjects = [{ kind: "ServiceAccount", ...ref("leaver") }];
    const roleRef = { kind: "Role", name: "leaver", apiGroup: "rbac.authorization.k8s.io" };
    let asLeaver: KubeConnection;
    const patchOf = (name: string): Change => ({
      do: "patch",
      resource: configMaps,
      ref: ref(name),
      body: { data: { done: "yes" } },
      options: { type: "merge" },
    });

    before(async () => {
      await kube.create(serviceAccounts, { metadata: ref("leaver") });
      await kube.create(roles, { metadata: ref("leaver"), rules });
      await kube.create(roleBindings, { metadata: ref("leaver"), roleRef, subjects });
      for (const name of ["together-1", "together-2"]) await kube.create(configMaps, named(name));
      asLeaver = connect({ kubeconfig: await accountKubeconfig(server, ref("leaver"), await adminKubectl(server)) });
    });

    it("none is begun when one is refused", async () => {
      const foreign: Change = { ...patchOf("kube-root-ca"), ref: { namespace: "default", name: "none" } };
      await assert.rejects(asLeaver.changeTogether([patchOf("together-1"), foreign], AbortSignal.timeout(10_000)), (error) =>
        isKubeError(error, "forbidden"),
      );
      assert.deepEqual((await kube.get(configMaps, ref("together-1"))).data, {});
    });

    it("all are made, though the first take away the right to make the rest", async () => {
      const changes: readonly Change[] = [
        { do: "delete", resource: roleBindings, ref: ref("leaver") },
        { do: "delete", resource: roles, ref: ref("leaver") },
        patchOf("together-1"),
        { do: "delete", resource: configMaps, ref: ref("together-2") },
        { do: "delete", resource: configMaps, ref: ref("never-there") },
      ];
      await asLeaver.changeTogether(changes, AbortSignal.timeout(10_000));
      assert.deepEqual((await kube.get(configMaps, ref("together-1"))).data, { done: "yes" });
      await assert.rejects(kube.get(configMaps, ref("together-2")), (error) => isKubeError(error, "not-found"));
      await assert.rejects(asLeaver.changeTogether([patchOf("together-1")], AbortSignal.timeout(10_000)), (error) =>
        isKubeError(error, "forbidden"),
      );
    });
  });

  it("creates, reads, patches in three ways and deletes", async () => {
    const made = await kube.create(configMaps, named("crud", { a: "1" }));
    assert.deepEqual((await kube.get(configMaps, ref("crud"))).metadata, made.metadata);
    assert.deepEqual((await kube.patch(configMaps, ref("crud"), { data: { b: "2" } }, { type: "merge" })).data, { a: "1", b: "2" });
    assert.deepEqual((await kube.patch(configMaps, ref("crud"), [{ op: "remove", path: "/data/a" }], { type: "json" })).data, { b: "2" });
    const applied = await kube.patch(
      configMaps,
      ref("crud"),
      { metadata: ref("crud"), data: { c: "3" } },
      { type: "apply", fieldManager: "test" },
    );
    assert.deepEqual(applied.data, { b: "2", c: "3" });
    await assert.rejects(kube.delete(configMaps, ref("crud"), { uid: "00000000-0000-0000-0000-000000000000" }), (error) =>
      isKubeError(error, "conflict"),
    );
    await kube.delete(configMaps, ref("crud"), { uid: made.metadata.uid });
    await assert.rejects(kube.get(configMaps, ref("crud")), (error) => isKubeError(error, "not-found"));
  });

  it("makes nothing in a dry run", async () => {
    await kube.create(configMaps, named("dry"), { dryRun: true });
    await assert.rejects(kube.get(configMaps, ref("dry")), (error) => isKubeError(error, "not-found"));
  });

  it("names what went wrong", async () => {
    const made = await kube.create(configMaps, named("taken"));
    await assert.rejects(kube.create(configMaps, named("taken")), (error) => isKubeError(error, "already-exists"));
    const stale = { metadata: { resourceVersion: made.metadata.resourceVersion }, data: { a: "1" } };
    await kube.patch(configMaps, ref("taken"), stale, { type: "merge" });
    await assert.rejects(kube.patch(configMaps, ref("taken"), { ...stale, data: { a: "2" } }, { type: "merge" }), (error) =>
      isKubeError(error, "conflict"),
    );
    await assert.rejects(
      kube.create(configMaps, named("Not_A_Name")),
      (error) => isKubeError(error, "invalid") && error.causes[0]?.field === "metadata.name",
    );
    await assert.rejects(kube.create(configMaps, { metadata: { namespace: "nowhere", name: "x" } }), (error) =>
      isKubeError(error, "not-found"),
    );
  });

  it("refuses to ask for an object without its name or namespace", async () => {
    await assert.rejects(kube.delete(configMaps, ref("")), (error) => isKubeError(error, "invalid"));
    await assert.rejects(kube.get(configMaps, { name: "x" }), (error) => isKubeError(error, "invalid"));
  });

  it("lists more than a page, in order and by selector", async () => {
    for (let start = 0; start < 620; start += 62)
      await Promise.all(
        Array.from({ length: 62 }, (_, index) => {
          const name = `many-${String(start + index).padStart(4, "0")}`;
          return kube.create(secrets, { metadata: { ...ref(name), labels: { half: String(index % 2) } } });
        }),
      );
    const all = await kube.list(secrets, { namespace: "kube-room" });
    assert.equal(all.items.length, 620);
    assert.equal(all.items.at(619)?.metadata.name, "many-0619");
    assert.equal((await kube.list(secrets, { labelSelector: "half=1" })).items.length, 310);
    assert.equal((await kube.list(secrets, { fieldSelector: "metadata.name=many-0007" })).items.length, 1);
  });

  it("watches with selectors, gets a bookmark, and ends in peace when the server closes the watch", async () => {
    const short = connect({ watchSeconds: 4 });
    const { resourceVersion } = await short.list(configMaps);
    const seen: string[] = [];
    const watching = (async () => {
      for await (const event of short.watch(configMaps, { resourceVersion, labelSelector: "seen=yes" }, AbortSignal.timeout(20_000)))
        seen.push(describeEvent(event));
    })();
    await kube.create(configMaps, { metadata: { ...ref("unseen") } });
    await kube.create(configMaps, { metadata: { ...ref("seen"), labels: { seen: "yes" } }, data: { text: "ä".repeat(100_000) } });
    await kube.patch(configMaps, ref("seen"), { metadata: { labels: { seen: "no" } } }, { type: "merge" });
    await watching;
    assert.deepEqual(
      seen.filter((event) => event !== "BOOKMARK"),
      ["ADDED seen", "DELETED seen"],
    );
    assert.ok(seen.includes("BOOKMARK"), "a bookmark comes before the end");
  });

  it("says gone for a version that the server has forgotten", async () => {
    // Events are served from etcd itself, so compacting etcd is enough.
    const { resourceVersion } = await kube.list(events);
    for (let index = 0; index < 3; index += 1)
      await kube.patch(configMaps, ref("taken"), { data: { index: String(index) } }, { type: "merge" });
    const { metadata } = await kube.get(configMaps, ref("taken"));
    await compact(server, Number(metadata.resourceVersion));
    const watch = async (): Promise<void> => {
      for await (const _ of kube.watch(events, { resourceVersion }, AbortSignal.timeout(10_000))) assert.fail("no event is expected");
    };
    await assert.rejects(watch, (error) => isKubeError(error, "gone"));
  });

  it("ends a watch when its caller aborts, with the caller's reason", async () => {
    const reason = new Error("enough");
    const end = new AbortController();
    const { resourceVersion } = await kube.list(configMaps);
    const watch = async (): Promise<void> => {
      setTimeout(() => end.abort(reason), 100);
      for await (const _ of kube.watch(configMaps, { resourceVersion }, end.signal));
    };
    await assert.rejects(watch, reason);
  });

  it("reads 500 objects at once over at most sixteen connections, and a hundred in turn over no more", async () => {
    const counted = connect();
    const port = Number(new URL(server.url).port);
    const before = connectionsTo(port);
    let most = 0;
    const timer = setInterval(() => {
      most = Math.max(most, connectionsTo(port) - before);
    }, 5);
    try {
      await Promise.all(Array.from({ length: 500 }, () => counted.get(namespaces, { name: "kube-room" })));
      for (let index = 0; index < 100; index += 1) await counted.get(namespaces, { name: "kube-room" });
    } finally {
      clearInterval(timer);
    }
    most = Math.max(most, connectionsTo(port) - before);
    assert.ok(most >= 1 && most <= 16, `${most} connections`);
  });

  it("gives up a watch that falls silent and a request that has no answer, and recovers with the server", async () => {
    const impatient = connect({ watchSilenceMs: 1_500, requestTimeoutMs: 1_500 });
    const reflector = new Reflector({ kube: impatient, resource: configMaps, clock: systemClock, log: silentLog, random: () => 0 });
    open.push(reflector);
    reflector.start();
    await reflector.synced();
    for (const pid of server.pids) process.kill(pid, "SIGSTOP");
    try {
      const started = performance.now();
      await assert.rejects(impatient.get(namespaces, { name: "kube-room" }), (error) => isKubeError(error, "timeout"));
      assert.ok(performance.now() - started < 3_000);
    } finally {
      for (const pid of server.pids) process.kill(pid, "SIGCONT");
    }
    await kube.create(configMaps, named("after-the-stop"));
    const isSeen = (): boolean => reflector.get("kube-room/after-the-stop") !== undefined;
    await waitUntil("the reflector sees what came after the stop", isSeen, { timeoutMs: 15_000 });
    await reflector.close();
  });

  it("hands the lease from one elector to the next on close, with a higher epoch", async () => {
    const elect = (identity: string): LeaderElector => {
      const elector = new LeaderElector({
        kube,
        clock: systemClock,
        log: silentLog,
        identity,
        ref: ref("election"),
        durationMs: 10_000,
        renewDeadlineMs: 8_000,
        retryMs: 200,
      });
      open.push(elector);
      elector.start();
      return elector;
    };
    const leads = async (elector: LeaderElector): Promise<number> => {
      await waitUntil("the elector leads", () => elector.leadership !== undefined, { timeoutMs: 10_000 });
      return elector.leadership?.epoch ?? assert.fail("nobody leads");
    };
    const first = elect("first");
    const firstEpoch = await leads(first);
    const second = elect("second");
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    assert.equal(second.leadership?.epoch, undefined);
    const signal = first.leadership?.signal;
    await first.close();
    assert.equal(signal?.aborted, true);
    assert.equal(await leads(second), firstEpoch + 1);
    assert.equal((await kube.get(leases, ref("election"))).spec.holderIdentity, "second");
    await second.close();
  });

  it("tells the server which process is asking", async () => {
    await kube.list(pods, { namespace: "kube-room" });
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.match(readFileSync(server.auditLog, "utf8"), /"userAgent":"squall-test\/1\.2\.3"/);
  });
});

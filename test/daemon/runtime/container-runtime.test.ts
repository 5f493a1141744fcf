import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "../../../common/log.ts";
import { connectRuntime } from "../../../daemon/runtime/connect-runtime.ts";
import type { ContainerRuntime } from "../../../daemon/runtime/container-runtime.ts";
import { ContainerState } from "../../../proto/gen/cri.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { FakeRuntime } from "../../support/fake-runtime.ts";

const APP = { podUid: "uid-1", container: "app" };

const EXITED = { state: "CONTAINER_EXITED" } as const;

describe("ContainerRuntime", () => {
  let folder: string;
  let fake: FakeRuntime;
  let runtime: ContainerRuntime;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "squall-run-"));
    fake = new FakeRuntime(join(folder, "containerd", "containerd.sock"));
    await fake.start();
    runtime = connectRuntime({ hostRun: folder, clock: new FakeClock(), log: silentLog });
  });
  afterEach(async () => {
    runtime.close();
    fake.stop();
    await rm(folder, { recursive: true });
  });
  const runningIds = (): readonly string[] =>
    [...fake.containers.values()].filter(({ state }) => state === ContainerState.CONTAINER_RUNNING).map(({ id }) => id);

  describe("find", () => {
    for (const ignoresFilters of [false, true])
      it(`gives the running container of that name in that pod, of a runtime that ${ignoresFilters ? "does not filter" : "filters"}`, async () => {
        fake.ignoresFilters = ignoresFilters;
        fake.addContainer("proxy", { container: "proxy", pid: 1001 });
        fake.addContainer("before", { state: "CONTAINER_EXITED", pid: 1002 });
        fake.addContainer("next", { state: "CONTAINER_CREATED", attempt: 9, pid: 1003 });
        fake.addContainer("other", { podUid: "uid-2", pid: 1004 });
        fake.addContainer("this", { pid: 1005 });
        assert.deepEqual(await runtime.find(APP), {
          ...APP,
          namespace: "shop",
          pod: "cart",
          id: "this",
          pid: 1005,
          startedAtMs: Date.parse("2026-01-01T00:00:00.123Z"),
        });
      });

    it("gives the newest where two starts of it run", async () => {
      fake.addContainer("new", { attempt: 10 });
      fake.addContainer("old", { attempt: 9 });
      assert.equal((await runtime.find(APP))?.id, "new");
    });

    it("gives nothing for a pod or a name that is not there, and for what has ended", async () => {
      fake.addContainer("a");
      fake.addContainer("b", { container: "proxy", state: "CONTAINER_EXITED" });
      assert.equal(await runtime.find({ ...APP, podUid: "uid-2" }), undefined);
      assert.equal(await runtime.find({ ...APP, container: "proxy" }), undefined);
    });

    for (const how of ["ends", "is removed"] as const)
      it(`gives nothing for a container that ${how} while it is looked at`, async () => {
        const container = fake.addContainer("a");
        fake.hook = (method) => {
          if (method !== "containerStatus") return;
          container.state = ContainerState.CONTAINER_EXITED;
          if (how === "is removed") fake.containers.delete("a");
        };
        assert.equal(await runtime.find(APP), undefined);
      });

    for (const [what, info] of Object.entries({
      nothing: {},
      "something else": { config: "{}" },
      "no JSON": { info: "pid=1234" },
      "no object": { info: "1234" },
      "no pid": { info: '{"sandboxID":"x"}' },
      "a pid that is text": { info: '{"pid":"1234"}' },
      "half a pid": { info: '{"pid":1234.5}' },
      "pid 0": { info: '{"pid":0}' },
      "the node's own first process": { info: '{"pid":1}' },
    }))
      it(`takes no pid from a runtime that tells ${what}`, async () => {
        fake.addContainer("a", { info });
        await assert.rejects(runtime.find(APP), {
          kind: "unreadable",
          isTransient: false,
          message: `The runtime tells no pid of a, container app of pod shop/cart with UID uid-1. It says: ${JSON.stringify("info" in info ? info.info : "nothing")}.`,
        });
      });
  });

  it("lists all running containers of pods, and none that no kubelet made", async () => {
    fake.addContainer("a", { pid: 1001 });
    fake.addContainer("b", { podUid: "uid-2", pid: 1002 });
    fake.addContainer("c", { podUid: "uid-3", state: "CONTAINER_EXITED" });
    fake.addContainer("by hand", { labels: {} });
    fake.addContainer("hostile", { podUid: "../../etc" });
    assert.deepEqual(
      (await runtime.list()).map(({ podUid, pid }) => [podUid, pid]),
      [
        ["uid-1", 1001],
        ["uid-2", 1002],
      ],
    );
  });

  it("lists pods that run without one of their containers, by the newest start of it", async () => {
    const sidecar = "squall-sidecar";
    for (const podUid of ["lost", "back", "never", "ended"])
      fake.addContainer(`${podUid}-app`, { podUid, ...(podUid === "ended" && EXITED) });
    for (const podUid of ["lost", "back", "ended"]) fake.addContainer(`${podUid}-0`, { podUid, container: sidecar, ...EXITED });
    fake.addContainer("lost-1", { podUid: "lost", container: sidecar, attempt: 1, ...EXITED });
    fake.addContainer("back-1", { podUid: "back", container: sidecar, attempt: 1 });
    assert.deepEqual(await runtime.listWithout(sidecar), [{ podUid: "lost", namespace: "shop", pod: "cart" }]);
    const starting = fake.addContainer("lost-2", { podUid: "lost", container: sidecar, attempt: 2, state: "CONTAINER_CREATED" });
    assert.deepEqual(await runtime.listWithout(sidecar), []);
    starting.state = ContainerState.CONTAINER_EXITED;
    assert.equal((await runtime.listWithout(sidecar)).length, 1);
  });

  describe("sandboxPid", () => {
    it("gives the pid of the pod's sandbox that is ready", async () => {
      fake.addSandbox("before", { pid: 1001, isReady: false, attempt: 3 });
      fake.addSandbox("this", { pid: 1002, attempt: 2 });
      fake.addSandbox("other", { podUid: "uid-2", pid: 1003 });
      assert.equal(await runtime.sandboxPid("uid-1"), 1002);
      assert.equal(await runtime.sandboxPid("uid-3"), undefined);
    });

    it("gives the pid of a container where sandboxes have no process, as CRI-O's", async () => {
      fake.addSandbox("this", { info: { info: '{"pid":0}' } });
      assert.equal(await runtime.sandboxPid("uid-1"), undefined);
      fake.addContainer("a", { pid: 1001 });
      assert.equal(await runtime.sandboxPid("uid-1"), 1001);
    });

    it("takes no pid from what it cannot read", async () => {
      fake.addSandbox("this", { info: { info: "{" } });
      await assert.rejects(runtime.sandboxPid("uid-1"), { kind: "unreadable" });
    });
  });

  describe("kill", () => {
    it("kills exactly this container, once", async () => {
      fake.addContainer("a");
      fake.addContainer("a2", { container: "proxy" });
      fake.addContainer("b", { podUid: "uid-2" });
      assert.equal(await runtime.kill({ ...APP, id: "containerd://a" }), "killed");
      assert.deepEqual(runningIds(), ["a2", "b"]);
      fake.addContainer("c", { attempt: 1 });
      assert.equal(await runtime.kill({ ...APP, id: "containerd://a" }), "gone");
      assert.equal(await runtime.kill({ ...APP, id: "never" }), "gone");
      assert.deepEqual(runningIds(), ["a2", "b", "c"]);
    });

    it("takes the id as the runtime has it, too, and no beginning of one", async () => {
      fake.addContainer("abc");
      assert.equal(await runtime.kill({ ...APP, id: "ab" }), "gone");
      assert.equal(await runtime.kill({ ...APP, id: "abc" }), "killed");
    });

    for (const [what, meant] of Object.entries({
      "another pod": { podUid: "uid-2", container: "app" },
      "another name": { podUid: "uid-1", container: "proxy" },
    }))
      it(`refuses a container of ${what} by name`, async () => {
        fake.addContainer("a");
        await assert.rejects(runtime.kill({ ...meant, id: "a" }), {
          kind: "wrong-target",
          isTransient: false,
          message: `a is container app of pod shop/cart with UID uid-1, not container ${meant.container} of the pod with UID ${meant.podUid}. Nothing was killed.`,
        });
        assert.deepEqual(runningIds(), ["a"]);
      });

    it("refuses a container that no kubelet made", async () => {
      fake.addContainer("a", { labels: {} });
      await assert.rejects(runtime.kill({ ...APP, id: "a" }), { kind: "wrong-target" });
      assert.deepEqual(runningIds(), ["a"]);
    });

    it("does not believe a runtime that says it stopped what runs", async () => {
      fake.addContainer("a");
      fake.isLying = true;
      await assert.rejects(runtime.kill({ ...APP, id: "a" }), { kind: "failed", isTransient: true });
    });

    it("says killed of a container that was removed at once", async () => {
      fake.addContainer("a");
      fake.hook = (method) => void (method === "stopContainer" && fake.containers.delete("a"));
      assert.equal(await runtime.kill({ ...APP, id: "a" }), "killed");
    });

    it("says killed when the runtime is started again in the middle", async () => {
      const container = fake.addContainer("a");
      fake.hook = async (method) => {
        if (method !== "stopContainer") return;
        fake.hook = () => undefined;
        container.state = ContainerState.CONTAINER_EXITED;
        fake.stop();
        await fake.start();
      };
      assert.equal(await runtime.kill({ ...APP, id: "a" }), "killed");
    });
  });

  describe("asks the runtime nothing about", () => {
    const long = "a".repeat(300);
    const bad = {
      "no UID": { ...APP, podUid: "", id: "a" },
      "a UID with a path": { ...APP, podUid: "../uid-1", id: "a" },
      "a UID that is too long": { ...APP, podUid: long, id: "a" },
      "no name": { ...APP, container: "", id: "a" },
      "a name with a line break": { ...APP, container: "app\n", id: "a" },
      "no id": { ...APP, id: "" },
      "nothing but a runtime": { ...APP, id: "containerd://" },
      "an id with a path": { ...APP, id: "containerd://../a" },
      "an id of another runtime": { ...APP, id: "docker://a" },
      "an id that is too long": { ...APP, id: long },
    };
    for (const [what, target] of Object.entries(bad))
      it(what, async () => {
        fake.addContainer("a");
        await runtime.list();
        const asked: string[] = [];
        fake.hook = (method) => void asked.push(method);
        await assert.rejects(runtime.kill(target), { kind: "invalid", isTransient: false });
        assert.deepEqual(asked, []);
      });

    it("a target that find or sandboxPid cannot look for", async () => {
      await assert.rejects(runtime.find({ ...APP, container: "App" }), { message: '"App" is no name of a container.' });
      await assert.rejects(runtime.sandboxPid("*"), { message: '"*" is no UID of a pod.' });
    });
  });
});

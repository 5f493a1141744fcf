import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "../../../common/log.ts";
import { connectRuntime } from "../../../daemon/runtime/connect-runtime.ts";
import { type ContainerRuntime, isRuntimeError } from "../../../daemon/runtime/container-runtime.ts";
import { waitUntil } from "../../../lab/wait-until.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { FakeRuntime } from "../../support/fake-runtime.ts";

const APP = { podUid: "uid-1", container: "app" };
const CONTAINERD = "containerd/containerd.sock";

describe("connectRuntime", () => {
  let hostRun: string;
  let clock: FakeClock;
  let told: string[];
  let runtime: ContainerRuntime;
  let fakes: FakeRuntime[];

  beforeEach(async () => {
    hostRun = await mkdtemp(join(tmpdir(), "squall-run-"));
    clock = new FakeClock();
    told = [];
    fakes = [];
  });
  afterEach(async () => {
    runtime.close();
    for (const fake of fakes) fake.stop();
    await rm(hostRun, { recursive: true });
  });

  async function serve(path: string, pid = 100): Promise<FakeRuntime> {
    const fake = new FakeRuntime(join(hostRun, path));
    fake.addContainer("a", { pid });
    await fake.start();
    fakes.push(fake);
    return fake;
  }
  function connect(): void {
    const tell = (_fields: object, message: string): void => void told.push(message);
    runtime = connectRuntime({ hostRun, clock, log: { ...silentLog, info: tell, warn: tell } });
  }
  const seen = (what: RegExp | undefined): Promise<void> => {
    const isSo = (): boolean => (what === undefined ? runtime.outage === undefined : what.test(runtime.outage ?? ""));
    return waitUntil(`outage ${what}`, () => isSo() || (runtime.outage ?? "none"), { timeoutMs: 3_000, everyMs: 2 });
  };
  /** A look has come to its end when the timer of the next one is the only one that waits. */
  const rest = (): Promise<void> => waitUntil("no rest", () => clock.waiting === 1, { timeoutMs: 3_000, everyMs: 2 });

  for (const path of [CONTAINERD, "crio/crio.sock", "k3s/containerd/containerd.sock", "k0s/containerd.sock", "cri-dockerd.sock"])
    it(`finds the runtime at ${path}`, async () => {
      await serve(path);
      connect();
      assert.equal((await runtime.find(APP))?.pid, 100);
      assert.equal(runtime.outage, undefined);
    });

  it("prefers the one of k3s to a plain containerd, which may be Docker's alone", async () => {
    await serve(CONTAINERD, 100);
    await serve("k3s/containerd/containerd.sock", 200);
    connect();
    assert.equal((await runtime.find(APP))?.pid, 200);
  });

  it("passes over one that does not speak CRI v1, and one that does not answer", async () => {
    (await serve("k3s/containerd/containerd.sock")).apiVersion = "v1alpha2";
    const silent = await serve("crio/crio.sock");
    const asked = new Promise<void>((resolve) => {
      silent.hook = () => {
        resolve();
        return new Promise(() => undefined);
      };
    });
    await serve(CONTAINERD, 200);
    connect();
    const found = runtime.find(APP);
    await asked;
    await clock.advance(3_000);
    assert.equal((await found)?.pid, 200);
  });

  it("says of every path what is wrong with it", async () => {
    (await serve("k0s/containerd.sock")).apiVersion = "v1alpha2";
    await serve("crio/crio.sock");
    await writeFile(join(hostRun, "cri-dockerd.sock"), "");
    const broken = fakes.at(-1);
    assert.ok(broken);
    broken.hook = () => broken.stop();
    connect();
    await assert.rejects(runtime.find(APP), (error: Error) => {
      assert.ok(isRuntimeError(error, "unavailable") && error.isTransient);
      const text = error.message.replaceAll(hostRun, "/run");
      assert.match(text, /The node's \/run must be mounted at \/run\. Tried: /);
      assert.match(text, /\/run\/k3s\/containerd\/containerd\.sock is not there;/);
      assert.match(text, /\/run\/k0s\/containerd\.sock speaks CRI v1alpha2, not v1;/);
      assert.match(text, /\/run\/crio\/crio\.sock: Version: cannot be reached \(.+\);/);
      assert.match(text, /\/run\/cri-dockerd\.sock is no socket;/);
      assert.match(text, /\/run\/containerd\/containerd\.sock is not there\.$/);
      assert.equal(runtime.outage, error.message);
      return true;
    });
  });

  it("tells an outage once and comes back by itself, without a call", async () => {
    const fake = await serve(CONTAINERD);
    connect();
    await seen(undefined);
    await rest();
    fake.stop();
    await clock.advance(10_000);
    await seen(/No container runtime answers/);
    for (let turn = 0; turn < 3; turn += 1) await assert.rejects(runtime.find(APP), { kind: "unavailable" });
    await rest();
    await fake.start();
    await clock.advance(1_000);
    await seen(undefined);
    assert.equal((await runtime.find(APP))?.pid, 100);
    assert.deepEqual(told, [
      "the container runtime answers",
      "the container runtime does not answer; it is looked for again",
      "the container runtime answers",
    ]);
  });

  it("makes a call again over a new connection when the runtime is started again in its middle", async () => {
    const fake = await serve(CONTAINERD);
    connect();
    await seen(undefined);
    fake.hook = async (method) => {
      if (method !== "containerStatus") return;
      fake.hook = () => undefined;
      fake.stop();
      await fake.start();
    };
    assert.equal((await runtime.find(APP))?.pid, 100);
    assert.deepEqual(told, ["the container runtime answers"]);
  });

  it("finds the runtime that took another one's place", async () => {
    const fake = await serve(CONTAINERD, 100);
    connect();
    assert.equal((await runtime.find(APP))?.pid, 100);
    fake.stop();
    await serve("crio/crio.sock", 200);
    assert.equal((await runtime.find(APP))?.pid, 200);
  });

  it("ends a call that takes more than 5 s, and counts a runtime as away that does not even tell its version", async () => {
    const fake = await serve(CONTAINERD);
    connect();
    await seen(undefined);
    await rest();
    fake.hook = () => new Promise(() => undefined);
    const late = assert.rejects(runtime.find(APP), {
      kind: "timeout",
      isTransient: true,
      message: /ListContainers was not answered within 5 s/,
    });
    await clock.advance(5_000);
    await late;
    // The look 10 s after the last one asks for the version for 3 s, then searches for 3 s.
    await clock.advance(5_000);
    await clock.advance(3_000);
    await waitUntil("it is not searched for", () => clock.waiting === 1, { timeoutMs: 3_000, everyMs: 2 });
    await clock.advance(3_000);
    await seen(/Version was not answered within 3 s/);
  });

  it("ends a call when the signal aborts, and all of them when it is closed", async () => {
    const fake = await serve(CONTAINERD);
    connect();
    await seen(undefined);
    fake.hook = () => new Promise(() => undefined);
    const abort = new AbortController();
    const call = assert.rejects(runtime.find(APP, abort.signal), /no longer wanted/);
    await waitUntil("it does not ask", () => clock.waiting === 2, { timeoutMs: 3_000, everyMs: 2 });
    abort.abort(new Error("no longer wanted"));
    await call;
    await assert.rejects(runtime.find(APP, abort.signal), /no longer wanted/);
    runtime.close();
    await assert.rejects(runtime.find(APP), /closed/);
    assert.equal(clock.waiting, 0);
  });
});

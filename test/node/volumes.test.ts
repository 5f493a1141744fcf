import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdir, readFile, readlink, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { IoFault } from "../../proto/gen/faults.ts";
import { type Pod, until, VolumeNode } from "./support/volume-node.ts";

const failing: IoFault = {
  volume: "data",
  mountPath: "/data",
  subPath: "",
  path: "",
  methods: ["open"],
  percent: 100,
  effect: { $case: "error", value: { errno: 5 } },
};

/** Real mounts in a mount namespace of the test's, by the daemon's and the sidecar's own code, each in a process that may be killed. */
describe("volumes that are served through FUSE", function () {
  this.timeout(60_000);
  let node: VolumeNode;

  beforeEach(async () => {
    node = await VolumeNode.open();
  });
  afterEach(() => node.close());

  /** A pod whose volume is served. */
  async function servedPod(): Promise<Pod> {
    await node.startDaemon();
    const pod = await node.addPod();
    await writeFile(join(pod.volume("data"), "before"), "plain");
    await pod.startSidecar();
    await pod.untilServed();
    return pod;
  }
  const read = (pod: Pod, file: string): Promise<string> => node.see("cat", join(pod.volume("data"), file));

  it("are mounted, handed over and served as soon as a sidecar listens", async () => {
    await node.startDaemon();
    const pod = await node.addPod([
      { name: "data", source: "emptyDir" },
      { name: "claim", source: "claim" },
    ]);
    await writeFile(join(pod.volume("data"), "before"), "plain");
    const startMs = performance.now();
    await pod.startSidecar();
    const listeningMs = performance.now();
    await until("both are mounted", async () => (await node.mounts()).length === 2);
    console.log(
      `    sidecar up in ${Math.round(listeningMs - startMs)} ms, mounted ${Math.round(performance.now() - listeningMs)} ms later`,
    );
    await pod.untilServed("data");
    await pod.untilServed("claim");
    console.log(`    served ${Math.round(performance.now() - listeningMs)} ms after the sidecar listened`);
    assert.equal(await read(pod, "before"), "plain");
    await node.see("sh", "-c", `echo through > ${join(pod.volume("data"), "after")}`);
    assert.equal(await readFile(join(pod.volume("data"), "after"), "utf8"), "through\n");
    assert.deepEqual(await node.states(), ["serving", "serving"]);
  });

  it("fail where they are told to, also once their server was killed and started again", async () => {
    const pod = await servedPod();
    await pod.rule("data", [{ id: "one", io: failing, remainingMs: 60_000 }]);
    await assert.rejects(read(pod, "before"), /Input\/output error/);
    assert.equal((await pod.count("data"))[0]?.methods.find(({ method }) => method === "open")?.failed, 1);
    const [server = 0] = await pod.servers();
    process.kill(server, "SIGKILL");
    await assert.rejects(read(pod, "before"), /Input\/output error/);
    await until("counts of both", async () => (await pod.count("data"))[0]?.methods.find(({ method }) => method === "open")?.failed === 2);
    await pod.rule("data", []);
    assert.equal(await read(pod, "before"), "plain");
  });

  it("begin with faults that came before they were mounted", async () => {
    const pod = await node.addPod();
    await writeFile(join(pod.volume("data"), "before"), "plain");
    await pod.startSidecar();
    await assert.rejects(pod.rule("data", [{ id: "one", io: failing, remainingMs: 60_000 }]), /not served yet/);
    await node.startDaemon();
    await until("it is mounted", async () => (await node.mounts()).length === 1);
    await assert.rejects(read(pod, "before"), /Input\/output error/);
  });

  it("go on when the daemon is killed, and are taken back into care by the next one", async () => {
    const pod = await servedPod();
    await node.killDaemon();
    assert.equal(await read(pod, "before"), "plain");
    await node.startDaemon();
    await until("the daemon knows the volume", async () => (await node.states())[0] === "serving");
    await pod.killSidecar(); // only what the daemon got back keeps it alive
    await pod.startSidecar();
    await pod.untilServed();
    assert.equal(await read(pod, "before"), "plain");
    assert.equal((await node.mounts()).length, 1);
  });

  it("wait for the next sidecar when theirs is killed, and go on without a new mount", async () => {
    const pod = await servedPod();
    await pod.killSidecar();
    const reading = read(pod, "before");
    await pod.startSidecar();
    assert.equal(await reading, "plain");
    assert.equal((await node.mounts()).length, 1);
  });

  it("are taken away where daemon and sidecar were killed, and nobody waits for ever", async () => {
    const pod = await servedPod();
    await node.killDaemon();
    await pod.killSidecar();
    await node.startDaemon();
    await until("the mount is gone", async () => (await node.mounts()).length === 0);
    assert.equal(await read(pod, "before"), "plain");
    await pod.startSidecar();
    await pod.untilServed();
    assert.equal((await node.mounts()).length, 1);
  });

  it("are taken away once nothing runs in the pod any more", async () => {
    const pod = await servedPod();
    pod.application.kill("SIGKILL");
    await pod.killSidecar();
    const startMs = performance.now();
    await until("the mount is gone", async () => (await node.mounts()).length === 0);
    console.log(`    unmounted ${Math.round(performance.now() - startMs)} ms after the end of the pod's processes`);
  });

  it("stay when the daemon ends in order", async () => {
    const pod = await servedPod();
    await node.closeDaemon();
    assert.equal(await read(pod, "before"), "plain");
  });

  it("are asked for again when somebody else unmounts them", async () => {
    const pod = await servedPod();
    await node.see("umount", "--lazy", "--force", pod.volume("data"));
    await until("it is mounted again", async () => (await node.mounts()).length === 1);
    await pod.untilServed();
    assert.equal(await read(pod, "before"), "plain");
  });

  it("of a claim are mounted for this pod alone", async () => {
    await node.startDaemon();
    const storage = join(node.folder, "storage");
    const pod = await node.addPod([{ name: "claim", source: "claim" }]);
    await mkdir(storage);
    await writeFile(join(storage, "before"), "plain");
    // As on a node: what is mounted in one of them appears in the others, unless it is kept from them.
    await node.see("mount", "--bind", storage, storage);
    await node.see("mount", "--make-shared", storage);
    await node.see("mount", "--bind", storage, pod.claim("claim"));
    await pod.startSidecar();
    await pod.untilServed("claim");
    assert.deepEqual(await node.mounts(), [pod.claim("claim")]);
    assert.equal(await node.see("cat", join(pod.claim("claim"), "before")), "plain");
    await pod.killSidecar();
    pod.application.kill("SIGKILL");
    await until("it is unmounted", async () => (await node.mounts()).length === 0);
    assert.equal(await node.see("cat", join(pod.claim("claim"), "before")), "plain");
    for (const path of [pod.claim("claim"), storage]) await node.see("umount", path);
  });

  describe("of several claims", () => {
    const volumes = ["data", "wal"].map((name) => ({ name, source: "claim", isOneOfSeveral: true }) as const);
    const names = { data: "pvc-data", wal: "pvc-wal" };

    it("are found by the names of their persistent volumes, and faulted apart", async () => {
      await node.startDaemon();
      const pod = await node.addPod(volumes);
      for (const { name } of volumes) await writeFile(join(pod.claim(name), "before"), `of ${name}`);
      await pod.startSidecar({ persistentVolumes: names });
      for (const { name } of volumes) await pod.untilServed(name);
      const readOf = (name: string): Promise<string> => node.see("cat", join(pod.claim(name), "before"));
      assert.deepEqual((await node.mounts()).toSorted(), [pod.claim("data"), pod.claim("wal")]);
      assert.deepEqual([await readOf("data"), await readOf("wal")], ["of data", "of wal"]);
      await pod.rule("wal", [{ id: "one", io: { ...failing, volume: "wal" }, remainingMs: 60_000 }]);
      await assert.rejects(readOf("wal"), /Input\/output error/);
      assert.equal(await readOf("data"), "of data");
      await pod.killSidecar();
      const reading = readOf("data");
      await pod.startSidecar({ persistentVolumes: names });
      assert.equal(await reading, "of data");
      assert.equal(await readOf("wal"), "of wal");
    });

    it("are refused where nobody told the name, or the kubelet has no folder of it, and the others are served", async () => {
      await node.startDaemon();
      const others = ["wal", "log"].map((name) => ({ name, source: "claim", isOneOfSeveral: true }) as const);
      const pod = await node.addPod([...volumes.slice(0, 1), ...others]);
      await pod.startSidecar({ persistentVolumes: { data: "pvc-data", wal: "pvc-other" } });
      await pod.untilServed("data");
      await until("wal is refused", async () => (await pod.stateOf("wal"))?.is === "refused");
      const states = await Promise.all(["wal", "log"].map((name) => pod.stateOf(name)));
      assert.deepEqual(
        states.map((state) => (state?.is === "refused" ? state.reason : state?.is)),
        ["VolumeNotFound", "PersistentVolumeUnknown"],
      );
      assert.deepEqual(await node.mounts(), [pod.claim("data")]);
      await assert.rejects(
        pod.rule("log", [{ id: "one", io: failing, remainingMs: 1000 }]),
        /log is not served: The pod has several claims, and the controller/,
      );
    });
  });

  describe("are refused", () => {
    it("where a container runs already, and served in the next pod", async () => {
      const pod = await node.addPod();
      const container = pod.run("sleep", "600");
      await pod.startSidecar();
      await node.startDaemon();
      await until("it is refused", async () => (await pod.stateOf("data"))?.is === "refused");
      const state = await pod.stateOf("data");
      assert.equal(state?.is === "refused" && state.reason, "ContainersRun");
      assert.deepEqual(await node.mounts(), []);
      const next = await servedAlso();
      assert.equal(await read(next, "before"), "plain");
      container.kill("SIGKILL");
    });

    it("by name where the kubelet has no such folder, or there are two claims and a sidecar that names none", async () => {
      await node.startDaemon();
      const pod = await node.addPod([
        { name: "gone", source: "emptyDir" },
        { name: "one", source: "claim" },
        { name: "two", source: "claim" },
      ]);
      await rm(pod.volume("gone"), { recursive: true });
      await pod.startSidecar();
      const names = ["gone", "one", "two"];
      await until("the last one is refused", async () => (await pod.stateOf("two"))?.is === "refused");
      const states = await Promise.all(names.map((name) => pod.stateOf(name)));
      assert.deepEqual(await node.states(), ["refused", "refused", "refused"]);
      assert.deepEqual(
        states.map((state) => (state?.is === "refused" ? state.reason : state?.is)),
        ["VolumeNotFound", "VolumeNotUnique", "VolumeNotUnique"],
      );
      await assert.rejects(pod.rule("gone", [{ id: "one", io: failing, remainingMs: 1000 }]), /no folder of an emptyDir named gone/);
    });

    it("where a link stands for the folder", async () => {
      await node.startDaemon();
      const elsewhere = join(node.folder, "elsewhere");
      await mkdir(join(elsewhere, "mount"), { recursive: true });
      const pod = await node.addPod([
        { name: "data", source: "emptyDir" },
        { name: "claim", source: "claim" },
      ]);
      const claim = join(pod.folder, "volumes/kubernetes.io~csi/pvc-claim");
      for (const folder of [pod.volume("data"), claim]) {
        await rm(folder, { recursive: true });
        await symlink(elsewhere, folder);
      }
      await pod.startSidecar();
      for (const name of ["data", "claim"]) await until(`${name} is refused`, async () => (await pod.stateOf(name))?.is === "refused");
      for (const state of [await pod.stateOf("data"), await pod.stateOf("claim")])
        assert.equal(state?.is === "refused" && state.reason, "VolumeNotFound");
      assert.deepEqual(await node.mounts(), []);
    });

    it("to a process that is none of the pod", async () => {
      const stranger = await node.addPod();
      const pod = await node.addPod();
      await node.startDaemon();
      await pod.startSidecar({ group: stranger.group });
      const served = await node.addPod();
      await served.startSidecar();
      await served.untilServed();
      assert.equal((await pod.stateOf("data"))?.is, "waiting");
      assert.equal((await node.mounts()).length, 1);
    });

    it("to a sidecar that says that it is another pod's, and to a socket that is a link to another pod's", async () => {
      await node.startDaemon();
      const served = await servedAlso();
      const liar = await node.addPod();
      await liar.startSidecar({ as: served.uid });
      const linked = await node.addPod();
      await symlink(served.socket, linked.socket);
      const another = await servedAlso();
      assert.equal((await node.mounts()).length, 2);
      assert.equal(await read(another, "before"), "plain");
    });
  });

  async function servedAlso(): Promise<Pod> {
    const pod = await node.addPod();
    await writeFile(join(pod.volume("data"), "before"), "plain");
    await pod.startSidecar();
    await pod.untilServed();
    return pod;
  }

  it("are not handed to whoever says something else than a sidecar, and other pods are served meanwhile", async () => {
    await node.startDaemon();
    const nonsense = ["what?\n", "{}\n", '{"hello":{"podUid":"../x","volumes":[],"held":[]}}\n', "x".repeat(200_000), ""];
    const servers = [];
    for (const text of nonsense) {
      const pod = await node.addPod();
      const hidden = join(node.folder, "hidden.sock");
      const server = createServer((socket) => {
        socket.on("error", () => undefined);
        socket.end(text);
      });
      await new Promise<void>((resolve) => server.listen(hidden, resolve));
      await rename(hidden, pod.socket);
      servers.push(server);
    }
    await servedAlso();
    assert.equal((await node.mounts()).length, 1);
    for (const server of servers) server.close();
  });

  async function hasOpen({ pid }: ChildProcess, name: string): Promise<boolean> {
    const paths = await Promise.all(["3", "4"].map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => "")));
    return paths.some((path) => path.endsWith(name));
  }

  it("are taken away where a process that was killed waits for a server that is gone, too", async () => {
    const pod = await servedPod();
    const slow: IoFault = { ...failing, effect: { $case: "latency", value: { delayUs: 60_000_000 } } };
    await pod.rule("data", [{ id: "one", io: slow, remainingMs: 60_000 }]);
    const writing = pod.run("cat", `${pod.volume("data")}/before`);
    await until("the server has its request", async () => ((await pod.count("data"))[0]?.methods ?? []).some(({ delayed }) => delayed > 0));
    const [server = 0] = await pod.servers();
    process.kill(server, "SIGSTOP");
    for (const child of [writing, pod.application]) child.kill("SIGKILL");
    await pod.killSidecar();
    await until("it is unmounted", async () => (await node.mounts()).length === 0);
    await until("it has ended", () => writing.exitCode !== null || writing.signalCode !== null);
  });

  it("are taken away where a process that ends by itself waits for a server that is gone, too", async () => {
    const pod = await servedPod();
    const file = `${pod.volume("data")}/before`;
    const holder = pod.run("perl", "-MPOSIX", "-e", 'open F, "<", $ARGV[0] or die; $SIG{TERM} = sub { POSIX::_exit(0) }; sleep 600', file);
    const flags = async (): Promise<number> => Number((await readFile(`/proc/${holder.pid}/stat`, "latin1")).split(") ")[1]?.split(" ")[6]);
    await until("the file is open", () => hasOpen(holder, "/before"));
    const [server = 0] = await pod.servers();
    process.kill(server, "SIGSTOP");
    holder.kill("SIGTERM");
    await until("it ends, and cannot", async () => ((await flags()) & 4) !== 0);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.doesNotMatch(await readFile(`/proc/${holder.pid}/status`, "latin1"), /^State:\s+Z/m);
    for (const child of [holder, pod.application]) child.kill("SIGKILL");
    await pod.killSidecar();
    await until("it is unmounted", async () => (await node.mounts()).length === 0);
    await until("it has ended", () => holder.exitCode !== null || holder.signalCode !== null);
  });

  it("are taken away where the sidecar was killed, too, and cannot end", async () => {
    const pod = await servedPod();
    const file = `${pod.volume("data")}/before`;
    const { ino } = await stat(file);
    const reader = pod.run("perl", "-e", 'open F, "<", $ARGV[0] or die; $SIG{USR1} = sub { sysread F, my $x, 5; exit }; sleep 600', file);
    await until("the file is open", () => hasOpen(reader, "/before"));
    const slow: IoFault = { ...failing, methods: ["read"], effect: { $case: "latency", value: { delayUs: 60_000_000 } } };
    await pod.rule("data", [{ id: "one", io: slow, remainingMs: 60_000 }]);
    reader.kill("SIGUSR1");
    await until("the server has its request", async () => ((await pod.count("data"))[0]?.methods ?? []).some(({ delayed }) => delayed > 0));
    pod.drop(ino).catch(() => undefined); // waits for that request
    await sleep(300);
    const { sidecar } = pod;
    const servers = await pod.servers();
    sidecar?.kill("SIGKILL");
    for (const pid of servers) process.kill(pid, "SIGKILL");
    for (const child of [reader, pod.application]) child.kill("SIGKILL"); // a server would let it go
    await sleep(500);
    assert.equal(sidecar?.signalCode, null);
    await until("it is unmounted", async () => (await node.mounts()).length === 0);
    await until("they have ended", () => [sidecar, reader].every((child) => child?.signalCode === "SIGKILL"));
  });

  it("are taken off the node for good, while containers that run keep them and faults are in force there", async () => {
    const pod = await servedPod();
    const inside = join(node.folder, "inside");
    await mkdir(inside);
    const bind = `mount --bind ${pod.volume("data")} ${inside} && exec sleep 600`;
    const container = spawn("nsenter", [`--mount=/proc/${node.process.pid}/ns/mnt`, "unshare", "--mount", "sh", "-c", bind], {
      stdio: "ignore",
    });
    try {
      const see = (...argv: readonly string[]): Promise<{ readonly stdout: string }> =>
        promisify(execFile)("nsenter", [`--mount=/proc/${container.pid}/ns/mnt`, ...argv], { timeout: 20_000, killSignal: "SIGKILL" });
      await until("the container has the volume", async () => {
        const { stdout } = await see("cat", "/proc/self/mountinfo");
        return stdout.includes(` ${inside} `);
      });
      assert.equal(await node.detach(), 1);
      assert.deepEqual(await node.mounts(), []);
      await node.closeDaemon();
      assert.equal((await see("cat", join(inside, "before"))).stdout, "plain");
      await pod.rule("data", [{ id: "one", io: failing, remainingMs: 60_000 }]);
      await assert.rejects(see("cat", join(inside, "before")), /Input\/output error/);
      assert.equal(await read(pod, "before"), "plain", "a container that starts now has the volume itself");
      await rm(pod.volume("data"), { recursive: true }); // as the kubelet tears it down
    } finally {
      container.kill("SIGKILL");
    }
  });

  it("cost the daemon nothing while nothing happens, and it loses no descriptors", async () => {
    const pod = await servedPod();
    const pid = node.daemon?.pid ?? 0;
    const countOpen = async (): Promise<number> => Number(await node.see("sh", "-c", `ls /proc/${pid}/fd | wc -l`));
    const round = async (): Promise<void> => {
      await pod.killSidecar();
      await pod.startSidecar();
      await pod.untilServed();
      await until("the daemon knows", async () => (await node.states())[0] === "serving");
    };
    await round();
    const before = await countOpen();
    for (let count = 0; count < 5; count += 1) await round();
    assert.equal(await countOpen(), before);
    const ticks = async (): Promise<number> => {
      const fields = (await readFile(`/proc/${pid}/stat`, "latin1")).split(") ")[1]?.split(" ") ?? [];
      return Number(fields[11]) + Number(fields[12]);
    };
    const start = await ticks();
    await new Promise((resolve) => setTimeout(resolve, 3000));
    assert.ok((await ticks()) - start <= 1, "the daemon used processor time");
  });
});

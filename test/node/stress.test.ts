import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, readlink, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../common/clock.ts";
import { ensurePackages, stressPackages } from "../../lab/packages.ts";
import { createProgress } from "../../lab/progress.ts";
import { type CgroupTree, openCgroupTree } from "../../daemon/cgroup/cgroup-tree.ts";
import { readUsage } from "../../daemon/cgroup/usage.ts";
import { STRESS_USER_ID } from "../../daemon/stress/launch.ts";
import { listMarked, sweepStress } from "../../daemon/stress/marked.ts";
import { findWhatStressLacks, openScratchFolder } from "../../daemon/stress/probe.ts";
import type { RunningStress } from "../../daemon/stress/running-stress.ts";
import { type StartedStress, startStress } from "../../daemon/stress/start-stress.ts";
import type { StressFault } from "../../daemon/stress/stress-fault.ts";
import { ensureCgroups, startTarget, type Target } from "./support/stress-target.ts";

const cpu = (loadPercent: number, workers = 1): StressFault => ({ cpu: { workers, loadPercent, options: [] }, stressngArguments: "" });
const memory = (
  megabytes: number,
  more: { readonly rampMs?: number; readonly oomScoreAdj?: number; readonly workers?: number } = {},
): StressFault => ({
  memory: { workers: 1, size: { bytes: megabytes * 1e6 }, rampMs: 0, oomScoreAdj: 0, options: [], ...more },
  stressngArguments: "",
});

/** Real workers of stress-ng in groups of this kernel, version 1 or 2. */
describe("stress in a container's groups", function () {
  this.timeout(90_000);
  let cgroups: CgroupTree;
  let scratchFolder: string;
  let target: Target;
  const lives: ChildProcess[] = [];
  const stresses: RunningStress[] = [];
  let isCoarse = false;

  before(async () => {
    await ensurePackages(stressPackages, { isRoot: process.getuid?.() === 0, progress: createProgress(process.stderr) });
    const { root, version } = await ensureCgroups();
    console.log(`    cgroup v${version}`);
    // Its clock ticks a hundred times a second: a worker that is to rest for 7 ms does not.
    isCoarse = (await readFile("/proc/cpuinfo", "utf8")).includes("User Mode Linux");
    cgroups = openCgroupTree(root);
    scratchFolder = await openScratchFolder(`/tmp/squall-stress-${process.pid}`);
    assert.equal(await findWhatStressLacks({ cgroups, clock: systemClock, scratchFolder }), undefined);
  });
  after(() => rm(scratchFolder, { recursive: true, force: true }));
  beforeEach(async () => {
    target = await startTarget("target");
  });
  afterEach(async () => {
    for (const life of lives.splice(0)) life.kill("SIGKILL");
    for (const stress of stresses.splice(0)) await stress.stop();
    await sweepStress();
    await target.close();
  });

  const start = (fault: StressFault, { of = target, lastsMs = 60_000 } = {}): Promise<StartedStress> =>
    startStress(
      { id: "test", pid: of.pid, fault, untilMs: systemClock.monotonicMs() + lastsMs },
      { cgroups, clock: systemClock, scratchFolder },
    );
  async function running(fault: StressFault, options: { readonly of?: Target; readonly lastsMs?: number } = {}): Promise<RunningStress> {
    const started = await start(fault, options);
    assert.equal(started.is, "running", started.is === "refused" ? started.problems.join("\n") : "");
    if (started.is !== "running") assert.fail();
    stresses.push(started.stress);
    return started.stress;
  }
  async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
    for (let left = 600; !(await isTrue()); left -= 1) {
      assert.ok(left > 0, `not within 30 s: ${what}`);
      await sleep(50);
    }
  }
  const refusalOf = async (fault: StressFault): Promise<string> => {
    const started = await start(fault);
    return started.is === "refused" ? started.problems.join("\n") : "";
  };
  const usage = async (of = target): Promise<{ readonly cpuMs: number; readonly bytes: number }> => {
    const { cpuNs = 0n, memoryBytes = 0 } = await readUsage(await cgroups.find(of.pid));
    return { cpuMs: Number(cpuNs) / 1e6, bytes: memoryBytes - (await readFileCacheBytes(of)) };
  };
  /** Another life of the daemon, and the first line that it says. */
  async function live(...parameters: readonly string[]): Promise<{ readonly said: string; readonly child: ChildProcess }> {
    const child = spawn(process.execPath, [join(import.meta.dirname, "support/stress-process.ts"), ...parameters], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    lives.push(child);
    const [chunk] = (await once(child.stdout, "data")) as [Buffer];
    return { said: chunk.toString().trim(), child };
  }
  async function untilNone(withinMs: number): Promise<number> {
    const startMs = performance.now();
    while ((await listMarked()).length > 0) {
      assert.ok(performance.now() - startMs < withinMs, `${(await listMarked()).length} left after ${withinMs} ms`);
      await sleep(20);
    }
    return performance.now() - startMs;
  }
  /** Processor time that workers had or stood in line for, in milliseconds: on a busy machine they do not get all that they ask for. */
  async function demandMs(): Promise<number> {
    const texts = await Promise.all((await listMarked()).map(({ pid }) => readFile(`/proc/${pid}/schedstat`, "utf8").catch(() => "0 0")));
    return (
      texts.reduce(
        (sum, text) =>
          sum +
          text
            .split(" ")
            .slice(0, 2)
            .reduce((all, ns) => all + Number(ns), 0),
        0,
      ) / 1e6
    );
  }

  /** Pages of stress-ng itself, which the file system of User-Mode Linux reads anew each time, count for whoever reads them first. */
  async function readFileCacheBytes(of: Target): Promise<number> {
    const text = await readFile(join(of.folder("memory"), "memory.stat"), "utf8");
    const field = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? 0);
    return field("file") + field("cache") - field("shmem");
  }

  it("uses a processor as much as asked for, and no other container's", async () => {
    const neighbour = await startTarget("neighbour");
    try {
      const load = isCoarse ? 100 : 60;
      const stress = await running(cpu(load));
      await sleep(1000);
      const [before, beforeOther, demanded, startMs] = [await usage(), await usage(neighbour), await demandMs(), performance.now()];
      await sleep(4000);
      const tookMs = performance.now() - startMs;
      const [after, afterOther] = [await usage(), await usage(neighbour)];
      const used = ((after.cpuMs - before.cpuMs) / tookMs) * 100;
      const waited = Math.max((((await demandMs()) - demanded) / tookMs) * 100 - used, 0);
      console.log(`    ${load} % asked for, ${used.toFixed(1)} % used by the group, ${waited.toFixed(1)} % stood in line for`);
      assert.ok(used <= load * 1.1 && used + waited >= load * 0.9, `${used} % used, ${waited} % waited`);
      assert.ok(afterOther.cpuMs - beforeOther.cpuMs < 5, "the neighbour used processor time");
      assert.equal(stress.receipt.workers, 1);
      assert.ok(stress.receipt.cpuSeconds > 1);
      await stress.stop();
      const stopped = await usage();
      await sleep(500);
      assert.ok((await usage()).cpuMs - stopped.cpuMs < 5, "something still uses processor time");
    } finally {
      await neighbour.close();
    }
  });

  for (const workers of [1, 3])
    it(`takes as much memory as asked for with ${workers === 1 ? "one worker" : "more workers"}, holds it at rest, and gives it back`, async () => {
      const before = await usage();
      const stress = await running(memory(80, { workers }));
      await until("memory is taken", async () => (await usage()).bytes - before.bytes > 74e6);
      await sleep(500);
      const during = await usage();
      console.log(`    80 MB asked for, ${((during.bytes - before.bytes) / 1e6).toFixed(1)} MB taken`);
      assert.ok(Math.abs(during.bytes - before.bytes - 80e6) <= 8e6, `${during.bytes - before.bytes} bytes`);
      await until("memory that is held costs no processor time", async () => {
        const { cpuMs } = await usage();
        await sleep(1000);
        return (await usage()).cpuMs - cpuMs < 30;
      });
      await stress.stop();
      await until("memory is given back", async () => (await usage()).bytes - before.bytes < 4e6); // the kernel counts it a little later
      assert.deepEqual(await listMarked(), []);
    });

  it("takes memory in even steps over the ramp", async () => {
    const rampMs = 6000;
    const stress = await running(memory(100, { rampMs }));
    const startMs = performance.now();
    for (const atMs of [1500, 3000, 4500]) {
      await sleep(startMs + atMs - performance.now());
      const megabytes = (await usage()).bytes / 1e6;
      console.log(`    after ${atMs} ms of ${rampMs}: ${megabytes.toFixed(1)} MB of 100`);
      const evenly = (atMs / rampMs) * 100;
      assert.ok(megabytes < evenly + 20, `${megabytes} MB after ${atMs} ms`);
      if (!isCoarse) assert.ok(megabytes > evenly - 20, `${megabytes} MB after ${atMs} ms`); // there, workers take seconds to start
    }
    await until("all memory is taken", async () => Math.abs((await usage()).bytes - 100e6) <= 10e6);
    await stress.stop();
  });

  it("reports that memory ran out, and starts workers again at most once a second", async () => {
    const limited = await startTarget("limited", { limitBytes: 60e6 });
    try {
      const stress = await running(memory(120), { of: limited });
      const begunMs = performance.now();
      const isAgain = (): Promise<boolean> => Promise.resolve(stress.receipt.oomKills >= 2 && stress.receipt.restarts >= 1);
      await until("a worker is killed, started again and killed again", isAgain);
      await sleep(2000);
      const { oomKills, restarts, message } = stress.receipt;
      const seconds = (performance.now() - begunMs) / 1000;
      console.log(`    ${oomKills} killed, ${restarts} started again in ${seconds.toFixed(1)} s`);
      assert.ok(oomKills <= seconds + 2, `${oomKills} killed`);
      assert.ok(restarts <= seconds + 1, `${restarts} restarts`);
      assert.match(message ?? "", /^Memory ran out: the kernel killed \d process/);
      process.kill(limited.pid, 0); // the container's own process was not the victim
      await stress.stop();
    } finally {
      await limited.close();
    }
  });

  it("runs workers without any privilege, in the container's pid namespace, without a network", async () => {
    const stress = await running(cpu(10, 2));
    await until("both workers are there", () => stress.receipt.workers === 2);
    const workers = (await listMarked()).filter(({ program }) => program === "stress-ng");
    assert.equal(workers.length, 3);
    for (const { pid } of workers) {
      const status = await readFile(`/proc/${pid}/status`, "utf8");
      const field = (name: string): string => new RegExp(`^${name}:[\\t ]*(.*?)\\s*$`, "m").exec(status)?.[1] ?? "";
      for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) assert.equal(field(set), "0000000000000000", set);
      assert.equal(field("NoNewPrivs"), "1");
      assert.equal(field("Groups"), "");
      assert.equal(field("Uid"), Array(4).fill(STRESS_USER_ID).join("\t"));
      assert.equal(field("NSpid").split("\t").length, 3, "not two pid namespaces down");
      assert.notEqual(await readlink(`/proc/${pid}/ns/net`), await readlink("/proc/self/ns/net"));
      assert.deepEqual((await readFile(`/proc/${pid}/environ`, "utf8")).split("\0").filter(Boolean), ["SQUALL_STRESS=test.0"]);
    }
    const privileged = (await listMarked()).filter(({ program }) => program !== "stress-ng" && program !== "timeout");
    assert.deepEqual(
      privileged.map(({ program }) => program),
      ["xargs"],
    );
    assert.equal(
      await readlink(`/proc/${privileged[0]?.pid}/ns/pid`),
      await readlink("/proc/self/ns/pid"),
      "a privileged process is seen by the target",
    );
    await stress.stop();
  });

  it("enters a container with a user namespace of its own", async () => {
    const mapped = await startTarget("mapped", { userNamespace: true });
    try {
      const stress = await running(cpu(10), { of: mapped });
      const [worker] = (await listMarked()).filter(({ program }) => program === "stress-ng");
      assert.equal((await stat(`/proc/${worker?.pid}`)).uid, 100_000 + STRESS_USER_ID);
      assert.equal(stress.receipt.workers, 1);
      await stress.stop();
      assert.deepEqual(await listMarked(), []);
    } finally {
      await mapped.close();
    }
  });

  it("gives workers the score that was asked for, or says why it cannot", async () => {
    const stress = await running(memory(20, { oomScoreAdj: 500 }));
    const scores = await Promise.all((await listMarked()).map(({ pid }) => readFile(`/proc/${pid}/oom_score_adj`, "utf8")));
    assert.deepEqual([...new Set(scores)], ["500\n"]);
    await stress.stop();
    const canLower =
      (BigInt(`0x${/^CapEff:\s*(\w+)$/m.exec(await readFile("/proc/self/status", "utf8"))?.[1] ?? "0"}`) & (1n << 24n)) !== 0n;
    if (canLower) await (await running(memory(20, { oomScoreAdj: -999 }))).stop();
    else
      assert.match(
        await refusalOf(memory(20, { oomScoreAdj: -999 })),
        /^memory\.oomScoreAdj -999 is less than the daemon's own .* SYS_RESOURCE/,
      );
    assert.deepEqual(await listMarked(), []);
  });

  it("ends when its time is over, and when arguments have done their work", async () => {
    const timed = await running(cpu(10), { lastsMs: 1000 });
    assert.equal((await timed.ended).why, "deadline");
    assert.deepEqual(await listMarked(), []);
    const finite = await running({ stressngArguments: "--matrix 1 --timeout 1" });
    assert.equal((await finite.ended).why, "finished");
    assert.deepEqual(await listMarked(), []);
  });

  it("refuses what stress-ng refuses, and leaves nothing", async () => {
    const fault: StressFault = { cpu: { workers: 1, loadPercent: 10, options: ["--cpu-method", "nonsense"] }, stressngArguments: "" };
    assert.match(await refusalOf({ ...fault, ...{ memory: memory(20).memory } }), /^stress-ng ended at once: .*cpu-method must be one of/s);
    assert.match(await refusalOf({ stressngArguments: "--cpu 1 --job evil" }), /--job reads a file/);
    assert.deepEqual(await listMarked(), []);
  });

  it("starts workers again that somebody ended", async () => {
    const stress = await running(cpu(10, 2));
    await until("both workers are there", () => stress.receipt.workers === 2);
    const [first] = (await listMarked()).filter(({ program }) => program === "stress-ng").slice(-1);
    process.kill(first?.pid ?? 0, "SIGKILL");
    await until("one is started again", () => stress.receipt.restarts === 1 && stress.receipt.workers === 2);
    await stress.stop();
    assert.deepEqual(await listMarked(), []);
  });

  it("ends at once when the container's first process does", async () => {
    const stress = await running({ ...cpu(20, 2), ...{ memory: memory(20).memory } });
    target.end();
    await untilNone(3000);
    assert.equal((await stress.ended).why, "target-gone");
  });

  it("ends with its daemon, whatever ends that", async () => {
    const { said, child } = await live(
      "start",
      String(target.pid),
      "60000",
      JSON.stringify({ ...cpu(20, 2), ...{ memory: memory(20).memory } }),
    );
    assert.equal(said, "running");
    assert.ok((await listMarked()).length > 8);
    child.kill("SIGKILL");
    console.log(`    all gone ${(await untilNone(3000)).toFixed(0)} ms after SIGKILL`);
  });

  it("ends with the container, and on time, while its daemon stands still", async () => {
    const frozen = await live("start", String(target.pid), "60000", JSON.stringify(cpu(20, 2)));
    frozen.child.kill("SIGSTOP");
    target.end();
    await untilNone(3000);
    frozen.child.kill("SIGKILL");
    await target.close();
    target = await startTarget("target");
    const late = await live("start", String(target.pid), "1000", JSON.stringify(cpu(20, 2)));
    late.child.kill("SIGSTOP");
    assert.ok((await listMarked()).length > 0);
    await untilNone(5000);
  });

  it("is found and ended by a new life of the daemon, and a user's own stress-ng is left alone", async () => {
    const own = target.spawn(["stress-ng", "--cpu", "1", "--cpu-load", "5", "--timeout", "60", "--quiet"]);
    const { child } = await live("start-undying", String(target.pid));
    child.kill("SIGKILL");
    await sleep(500);
    assert.ok((await listMarked()).length >= 5, "workers did not outlive their daemon");
    const { said } = await live("sweep");
    assert.ok(Number(said) >= 5, said);
    assert.deepEqual(await listMarked(), []);
    assert.equal(own.exitCode ?? own.signalCode, null, "the user's own was ended");
    assert.match(await readFile(`/proc/${own.pid}/task/${own.pid}/children`, "utf8"), /\d/);
  });

  it("works from a cgroup namespace of its own, as containers have it", async () => {
    const daemon = await startTarget("daemon");
    try {
      const expected = await cgroups.find(target.pid);
      const folders = [...new Set((await cgroups.find(daemon.pid)).values())].join(":");
      const { said } = await live("in-container", folders, "find", String(target.pid));
      assert.deepEqual(new Map(JSON.parse(said) as [string, string][]), expected);
      const started = await live("in-container", folders, "start", String(target.pid), "60000", JSON.stringify(cpu(20)));
      assert.equal(started.said, "running");
      const [worker] = (await listMarked()).filter(({ program }) => program === "stress-ng");
      assert.deepEqual(await cgroups.find(worker?.pid ?? 0), expected);
    } finally {
      for (const life of lives.splice(0)) life.kill("SIGKILL");
      await untilNone(3000);
      await daemon.close();
    }
  });
});

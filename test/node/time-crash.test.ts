import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import * as z from "zod";
import { systemClock } from "../../common/clock.ts";
import { createSkewer, openSkewerParts, type Skewer } from "../../daemon/time/skewer.ts";
import { openTarget, type ProcessIdentity, readIdentity } from "../../daemon/time/target-process.ts";
import { readOwnVdso } from "../../daemon/time/vdso-image.ts";
import { expectOffsets, readClocks } from "./support/clocks.ts";
import { type NativePrograms, openNativePrograms } from "./support/native-programs.ts";
import { startTarget, type TargetProgram } from "./support/target-program.ts";

const HOUR_NS = 3_600_000_000_000n;
const SKEWED = { 0: HOUR_NS, gettimeofday: HOUR_NS, time: HOUR_NS };
/** Values that the load checks in each of its tests; the bench checks a thousand times as many. */
const VALUES = 10_000_000;
const patcherFile = join(import.meta.dirname, "support/patcher.ts");
const answer = z.object({ is: z.string(), written: z.number() });
const load = z.object({ native: z.number(), skewed: z.number(), wrong: z.number(), signals: z.number() });

const readThreadStates = (pid: number): readonly string[] =>
  readdirSync(`/proc/${pid}/task`).map((thread) => {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3);
  });

function isPristine(identity: ProcessIdentity): boolean {
  const opened = openTarget(identity);
  assert.ok(opened.is === "open");
  try {
    const own = readOwnVdso();
    return opened.memory.read(0, own.length).equals(own);
  } finally {
    opened.memory.close();
  }
}

describe("a process whose clocks are patched", () => {
  let programs: NativePrograms;
  let skewer: Skewer;
  const started: TargetProgram[] = [];
  let clocks: string;
  let clockLoad: string;

  before(() => {
    programs = openNativePrograms();
    clocks = programs.build("clocks", "clocks.c", ["gcc", "-O2"]) ?? assert.fail("These tests need gcc.");
    clockLoad = programs.build("clock-load", "clock-load.c", ["gcc", "-O2"]) ?? assert.fail();
    skewer = createSkewer(openSkewerParts());
  });
  afterEach(async () => {
    await Promise.all(started.splice(0).map((program) => program.close()));
  });
  after(() => programs.close());

  async function start(argv: readonly string[]): Promise<TargetProgram> {
    const program = await startTarget(argv);
    started.push(program);
    return program;
  }
  const skew = async ({ identity }: TargetProgram, offsetNs = HOUR_NS): Promise<void> => {
    const outcomes = await skewer.apply([identity], { offsetsNs: new Map([[0, offsetNs]]), untilMs: systemClock.monotonicMs() + 600_000 });
    assert.deepEqual(outcomes, [{ ...identity, is: "done" }]);
  };
  /** Until no thread is inside, as the daemon does. */
  const undo = async ({ identity }: TargetProgram): Promise<void> => {
    for (let tries = 0; tries < 20; tries++) if ((await skewer.undo([identity]))[0]?.is !== "inert") break;
    assert.ok(isPristine(identity));
  };
  /** How a patcher ended that was killed in place of the write after so many; how many it makes where it is not. */
  async function runPatcher({ pid, startTicks }: ProcessIdentity, deed: "apply" | "undo", writes: number): Promise<number | "killed"> {
    const argv = [patcherFile, String(pid), startTicks, deed, "SIGKILL", String(writes)];
    try {
      const { stdout } = await promisify(execFile)(process.execPath, argv);
      const { is, written } = answer.parse(JSON.parse(stdout));
      assert.equal(is, "done");
      return written;
    } catch (error) {
      assert.equal(z.object({ signal: z.string() }).parse(error).signal, "SIGKILL");
      return "killed";
    }
  }

  for (const deed of ["apply", "undo"] as const) {
    it(`runs on, and can be cleaned up by the next, whenever the patcher is killed during ${deed}`, async function () {
      this.timeout(180_000);
      const program = await start([clocks, "8"]);
      if (deed === "undo") await skew(program);
      const writes = await runPatcher(program.identity, deed, Number.POSITIVE_INFINITY);
      assert.ok(typeof writes === "number" && writes > 20);
      for (let point = 0; point < writes; point++) {
        await undo(program);
        if (deed === "undo") await skew(program);
        assert.equal(await runPatcher(program.identity, deed, point), "killed");
        const stopped = readThreadStates(program.identity.pid).filter((state) => ["T", "t"].includes(state));
        assert.deepEqual(stopped, [], `after ${point} writes`);
        const [found] = (await skewer.find()).filter(({ pid }) => pid === program.identity.pid);
        const readings = await readClocks(program);
        const isSkewed = (readings.get("0")?.[1] ?? 0n) > HOUR_NS / 2n;
        expectOffsets(readings, isSkewed ? { ...SKEWED, ...(found?.state === "partial" ? withoutUnhooked(readings) : {}) } : {});
        if (point === 0 && deed === "apply") assert.equal(found, undefined);
        else assert.ok(found !== undefined);
      }
      await undo(program);
      expectOffsets(await readClocks(program), {});
    });
  }

  for (const signal of ["SIGKILL", "SIGSTOP"] as const) {
    it(`is native at the end that was said, after ${signal} of the patcher`, async () => {
      const program = await start([clocks, "8"]);
      const { pid, startTicks } = program.identity;
      const patcher = spawn(process.execPath, [patcherFile, String(pid), startTicks, "hold", signal, "Infinity"], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      try {
        await once(patcher.stdout, "data");
        expectOffsets(await readClocks(program), SKEWED);
        await sleep(1_050);
        expectOffsets(await readClocks(program), {});
      } finally {
        patcher.kill("SIGKILL");
      }
      await undo(program);
    });
  }

  for (const [name, argv] of [
    ["busy threads", ["8", "0", "0"]],
    ["threads that get signals and sleep in their handlers", ["4", "100", "0"]],
    ["many threads that mostly sleep", ["200", "2000", "20000"]],
  ] as const) {
    it(`reads no wrong value while its clocks go on and off, with ${name}`, async function () {
      this.timeout(120_000);
      const [threads, signalUs, pauseUs] = argv;
      const program = await start([clockLoad, threads, String(-HOUR_NS - 500_000_001n), signalUs, pauseUs]);
      assert.equal(await program.hear(), "ready");
      const endMs = systemClock.monotonicMs() + 5_000;
      let rounds = 0;
      for (; systemClock.monotonicMs() < endMs; rounds++) {
        await skew(program, -HOUR_NS - 500_000_001n);
        await sleep(3);
        await skewer.undo([program.identity]);
        assert.ok(!program.hasEnded);
      }
      await undo(program);
      program.kill("SIGTERM");
      const { native, skewed, wrong, signals } = load.parse(JSON.parse(await program.hear()));
      assert.equal(wrong, 0);
      assert.ok(skewed > 1_000 && rounds > 10, `${skewed} skewed values in ${rounds} rounds`);
      if (pauseUs === "0") assert.ok(native + skewed > VALUES, `${native + skewed} values`);
      if (signalUs !== "0") assert.ok(signals > 100);
    });
  }

  it("ends as ever, and its parent hears of it, when it is killed while it is stopped for a patch", async () => {
    let tries = 0;
    for (let round = 0; round < 20; round++) {
      // A child of this process would not do: it would tell its end to the one process that is both its parent and its tracer.
      const shell = await start(["sh", "-c", `exec 2>/dev/null 3<&0; ${clocks} 50 <&3 & echo $!; wait $!; echo ended $?`]);
      const target = readIdentity(Number(await shell.hear())) ?? assert.fail();
      const work = (async () => {
        for (; ; tries++) {
          const outcomes = [
            ...(await skewer.apply([target], { offsetsNs: new Map([[0, HOUR_NS]]), untilMs: systemClock.monotonicMs() + 1_000 })),
            ...(await skewer.undo([target])),
          ];
          if (outcomes.some(({ is }) => is === "gone")) return;
        }
      })();
      await sleep(20 + round);
      execFile("kill", ["-KILL", String(target.pid)]);
      assert.equal(await shell.hear(), "ended 137");
      await work;
    }
    assert.ok(tries > 20, `${tries} tries`);
  });
});

/** Killed half-way, not every function has its hook yet or still. */
function withoutUnhooked(readings: Awaited<ReturnType<typeof readClocks>>): Readonly<Record<string, bigint>> {
  const isNative = (name: string): boolean => (readings.get(name)?.[0] ?? 0n) <= 0n && (readings.get(name)?.[1] ?? 0n) >= 0n;
  return Object.fromEntries(["gettimeofday", "time"].filter(isNative).map((name) => [name, 0n]));
}

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../common/clock.ts";
import { openSkewer } from "../../daemon/time/open-skewer.ts";
import type { Skew } from "../../daemon/time/skew-table.ts";
import type { Skewer } from "../../daemon/time/skewer.ts";
import { openTarget, type ProcessIdentity } from "../../daemon/time/target-process.ts";
import { readOwnVdso } from "../../daemon/time/vdso-image.ts";
import { expectOffsets, readClocks } from "./support/clocks.ts";
import { type NativePrograms, isInstalled, openNativePrograms, writeSource } from "./support/native-programs.ts";
import { startTarget, type TargetProgram } from "./support/target-program.ts";

const HOUR_NS = 3_600_000_000_000n;

const skewOf = (offsetsNs: Readonly<Record<number, bigint>>, forMs = 600_000): Skew => ({
  offsetsNs: new Map(Object.entries(offsetsNs).map(([clock, offset]) => [Number(clock), offset])),
  untilMs: systemClock.monotonicMs() + forMs,
});

function readVdso(identity: ProcessIdentity): Buffer {
  const opened = openTarget(identity);
  assert.equal(opened.is, "open");
  if (opened.is !== "open") return Buffer.alloc(0);
  try {
    return opened.memory.read(0, readOwnVdso().length);
  } finally {
    opened.memory.close();
  }
}

const stateOf = (pid: number): string => /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? "?";

describe("clocks of running processes", () => {
  let programs: NativePrograms;
  let skewer: Skewer;
  let clocks: string;
  const started: TargetProgram[] = [];

  before(async () => {
    programs = openNativePrograms();
    clocks = programs.build("clocks", "clocks.c", ["gcc", "-O2"]) ?? assert.fail("These tests need gcc.");
    const opened = await openSkewer();
    assert.ok(opened.missing === undefined, opened.missing);
    skewer = opened.skewer;
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
  const apply = async ({ identity }: TargetProgram, skew: Skew): Promise<void> => {
    assert.deepEqual(await skewer.apply([identity], skew), [{ ...identity, is: "done" }]);
  };
  const undo = async ({ identity }: TargetProgram): Promise<void> => {
    assert.deepEqual(await skewer.undo([identity]), [{ ...identity, is: "done" }]);
    assert.ok(readVdso(identity).equals(readOwnVdso()));
  };

  for (const [libc, compiler] of [
    ["glibc", ["gcc", "-O2"]],
    ["glibc, static", ["gcc", "-O2", "-static"]],
    ["musl", ["musl-gcc", "-O2", "-static"]],
  ] as const) {
    it(`are off by exactly what was asked, each by its own, with ${libc}`, async function () {
      const path = programs.build(`clocks-${libc.replaceAll(/\W/g, "")}`, "clocks.c", compiler);
      if (path === undefined) return this.skip();
      const program = await start([path]);
      const native = await readClocks(program);
      expectOffsets(native, {});
      assert.ok(native.size >= 10, [...native.keys()].join());
      for (const offset of [HOUR_NS, -HOUR_NS, HOUR_NS + 1n, -HOUR_NS - 1n, 999_999_999n, -999_999_999n, -500_000_000n]) {
        await apply(program, skewOf({ 0: offset }));
        for (let reads = 0; reads < 20; reads++)
          expectOffsets(await readClocks(program), { 0: offset, gettimeofday: offset, time: offset });
      }
      const each = Object.fromEntries(Array.from({ length: 10 }, (_, clock) => [clock, BigInt(clock * 7 - 30) * 1_234_567_891n]));
      await apply(program, skewOf(each));
      expectOffsets(await readClocks(program), { ...each, gettimeofday: each[0] ?? 0n, time: each[0] ?? 0n });
      await apply(program, skewOf({ 1: HOUR_NS }));
      expectOffsets(await readClocks(program), { 1: HOUR_NS });
      await undo(program);
      expectOffsets(await readClocks(program), {});
    });
  }

  const answering: Readonly<Record<string, (folder: string) => { readonly needs: string; readonly argv: readonly string[] }>> = {
    Python: (folder) => ({
      needs: "python3",
      argv: ["python3", writeSource(folder, "p.py", "import sys, time\nfor _ in sys.stdin: print(int(time.time() * 1000), flush=True)\n")],
    }),
    Node: () => ({ needs: "node", argv: [process.execPath, "-e", 'process.stdin.on("data", () => console.log(Date.now()))'] }),
    Go: (folder) => ({
      needs: "go",
      argv: buildGo(
        folder,
        `package main
import ("bufio"; "fmt"; "os"; "time")
func main() {
	go func() { for { _ = time.Now(); time.Sleep(time.Microsecond) } }()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); { fmt.Println(time.Now().UnixMilli()) }
}
`,
      ),
    }),
    Java: (folder) => ({
      needs: "java",
      argv: [
        "java",
        writeSource(
          folder,
          "Answer.java",
          `class Answer { public static void main(String[] a) throws Exception {
  var in = new java.io.BufferedReader(new java.io.InputStreamReader(System.in));
  while (in.readLine() != null) System.out.println(System.currentTimeMillis());
} }
`,
        ),
      ],
    }),
  };
  for (const [language, prepare] of Object.entries(answering)) {
    it(`are off in ${language}, while it goes on`, async function () {
      const { needs, argv } = prepare(programs.folder);
      if (needs !== "node" && !isInstalled(needs)) return this.skip();
      const program = await start(argv);
      const offsetMs = async (): Promise<number> => Number(await program.ask("?")) - Date.now();
      const expectMs = async (wanted: number): Promise<void> => {
        const found = await offsetMs();
        assert.ok(Math.abs(found - wanted) < 5_000, `off by ${found} ms`);
      };
      await expectMs(0);
      for (let round = 0; round < 3; round++) {
        await apply(program, skewOf({ 0: -HOUR_NS }));
        await expectMs(-3_600_000);
        await undo(program);
        await expectMs(0);
      }
    });
  }

  it("are off in all threads and in children, and native in a program that a child runs anew", async () => {
    const program = await start([clocks, "200"]);
    await apply(program, skewOf({ 0: HOUR_NS }));
    const skewed = { 0: HOUR_NS, gettimeofday: HOUR_NS, time: HOUR_NS };
    expectOffsets(await readClocks(program), skewed);
    expectOffsets(await readClocks(program, "fork"), skewed);
    expectOffsets(await readClocks(program, "exec"), {});
    await undo(program);
    expectOffsets(await readClocks(program, "fork"), {});
  });

  it("end by themselves at the moment that was said, and not before", async () => {
    const program = await start([clocks]);
    const every = Object.fromEntries([0, 1, 4, 5, 6, 7].map((clock) => [clock, HOUR_NS]));
    const skew = skewOf(every, 1_500);
    await apply(program, skew);
    expectOffsets(await readClocks(program), { ...every, gettimeofday: HOUR_NS, time: HOUR_NS });
    await sleep(skew.untilMs - systemClock.monotonicMs() - 100);
    expectOffsets(await readClocks(program), { ...every, gettimeofday: HOUR_NS, time: HOUR_NS });
    await sleep(150);
    expectOffsets(await readClocks(program), {});
  });

  it("end at that moment in a time namespace, too", async function () {
    const namespaced = ["unshare", "--time", "--monotonic", "86400", "--boottime", "86400", clocks];
    if (spawnSync("unshare", ["--time", "true"]).status !== 0) return this.skip();
    const program = await start(namespaced);
    const shift = [1, 4, 7].map((clock) => [clock, HOUR_NS]);
    while (readlinkSync(`/proc/${program.identity.pid}/ns/time`) === readlinkSync("/proc/self/ns/time")) await sleep(5);
    const skew = skewOf(Object.fromEntries(shift), 700);
    await apply(program, skew);
    expectOffsets(await readClocks(program), Object.fromEntries(shift));
    await sleep(skew.untilMs - systemClock.monotonicMs() + 50);
    expectOffsets(await readClocks(program), {});
  });

  it("go on being off when the end is put off, and again after it passed", async () => {
    const program = await start([clocks]);
    await apply(program, skewOf({ 1: HOUR_NS }, 300));
    await apply(program, skewOf({ 1: HOUR_NS }, 900));
    await sleep(500);
    expectOffsets(await readClocks(program), { 1: HOUR_NS });
    await sleep(500);
    expectOffsets(await readClocks(program), {});
    await apply(program, skewOf({ 1: HOUR_NS }));
    expectOffsets(await readClocks(program), { 1: HOUR_NS });
  });

  it("are found with their processes, and not looked for by memory", async () => {
    const program = await start([clocks]);
    const other = await start([clocks]);
    await apply(program, skewOf({ 0: HOUR_NS }));
    const found = await skewer.find();
    assert.deepEqual(
      found.filter(({ pid }) => [program, other].some(({ identity }) => identity.pid === pid)),
      [{ ...program.identity, state: "skewed" }],
    );
    await undo(program);
  });

  it("of a process that the user stopped change while it stays stopped", async () => {
    const program = await start([clocks, "3"]);
    program.kill("SIGSTOP");
    while (stateOf(program.identity.pid) !== "T") await sleep(5);
    await apply(program, skewOf({ 0: HOUR_NS }));
    await sleep(50);
    assert.equal(stateOf(program.identity.pid), "T");
    program.kill("SIGCONT");
    expectOffsets(await readClocks(program), { 0: HOUR_NS, gettimeofday: HOUR_NS, time: HOUR_NS });
    program.kill("SIGSTOP");
    while (stateOf(program.identity.pid) !== "T") await sleep(5);
    await undo(program);
    await sleep(50);
    assert.equal(stateOf(program.identity.pid), "T");
    program.kill("SIGCONT");
    expectOffsets(await readClocks(program), {});
  });

  it("are left alone where the pid is another process's by now", async () => {
    const program = await start([clocks]);
    const earlier = { ...program.identity, startTicks: String(Number(program.identity.startTicks) - 1) };
    assert.deepEqual(await skewer.apply([earlier], skewOf({ 0: HOUR_NS })), [{ ...earlier, is: "gone" }]);
    assert.deepEqual(await skewer.undo([earlier]), [{ ...earlier, is: "gone" }]);
    assert.ok(readVdso(program.identity).equals(readOwnVdso()));
  });

  it("cannot be skewed in a process that a debugger holds, which is said and runs on", async function () {
    if (!isInstalled("strace")) return this.skip();
    const program = await start([clocks]);
    const tracer = await start(["strace", "-qq", "-o", "/dev/null", "-p", String(program.identity.pid)]);
    const tracerPid = (): string => /^TracerPid:\s*(\d+)/m.exec(readFileSync(`/proc/${program.identity.pid}/status`, "latin1"))?.[1] ?? "0";
    while (tracerPid() === "0") await sleep(5);
    const [outcome] = await skewer.apply([program.identity], skewOf({ 0: HOUR_NS }));
    assert.equal(
      outcome && "reason" in outcome ? outcome.reason : outcome?.is,
      `Process ${tracer.identity.pid} traces it, as debuggers do. Detach that one.`,
    );
    expectOffsets(await readClocks(program), {});
  });

  it("of kernel threads and of processes that are gone are no reason to fail", async () => {
    const program = await start([clocks]);
    await program.close();
    assert.deepEqual(await skewer.apply([program.identity], skewOf({ 0: HOUR_NS })), [{ ...program.identity, is: "gone" }]);
    assert.deepEqual(await skewer.undo([program.identity]), [{ ...program.identity, is: "gone" }]);
  });

  for (const stack of ["its own stack", "another stack"] as const) {
    it(`are cleaned up only after a handler returned that interrupted our code, on ${stack}`, async () => {
      const path = programs.build("handler", "handler.c", ["gcc", "-O2"]) ?? assert.fail();
      const program = await start(stack === "another stack" ? [path, stack] : [path]);
      assert.equal(await program.hear(), "ready");
      let inside = 0;
      for (let round = 0; round < 12 && inside < 3; round++) {
        await apply(program, skewOf({ 0: HOUR_NS }));
        await sleep(2);
        program.kill("SIGUSR1");
        assert.equal(await program.hear(), "h");
        const [outcome] = await skewer.undo([program.identity]);
        if (outcome?.is === "inert") inside++;
        else assert.equal(outcome?.is, "done");
        program.tell("x");
        await sleep(2);
        await undo(program);
      }
      assert.ok(inside > 0, "no handler interrupted our code");
      assert.ok(!program.hasEnded);
    });
  }
});

function buildGo(folder: string, source: string): readonly string[] {
  if (!isInstalled("go")) return [];
  const path = join(folder, "answer-go");
  const built = spawnSync("go", ["build", "-o", path, writeSource(folder, "main.go", source)], { encoding: "utf8" });
  assert.equal(built.status, 0, built.stderr);
  return [path];
}

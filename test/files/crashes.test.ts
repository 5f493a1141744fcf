import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { statSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { IoFault } from "../../proto/gen/faults.ts";
import { invalidateNode } from "../../sidecar/files/kernel/protocol.ts";
import { Program, run } from "./support/program.ts";
import { Volume } from "./support/volume.ts";

const PROGRAM = join(import.meta.dirname, "support/busy-program.py");
const KILLS = 20;
const faults: Readonly<Record<string, Readonly<Record<string, Partial<IoFault>>>>> = {
  "no fault": {},
  "some operations delayed": { slow: { percent: 20, effect: { $case: "latency", value: { delayUs: 5_000 } } } },
};

describe("a volume behind FUSE whose server is killed", function () {
  this.timeout(90_000);
  let volume: Volume;

  beforeEach(async () => {
    volume = await Volume.open();
  });
  afterEach(() => volume.close());

  /** A shell that has `f` open from before any fault, so that the kernel keeps its data, and reads it when it is told to. */
  async function openReader(): Promise<Program> {
    await writeFile(join(volume.plain, "f"), Buffer.alloc(100_000));
    for (const name of ["folder", "other"]) await mkdir(join(volume.plain, name));
    const reader = new Program(volume, "exec 5<f; echo open; read; head -c 4096 <&5 | wc -c");
    assert.equal(await reader.hear(), "open");
    return reader;
  }

  it("takes other faults on while it holds back what the kernel has locked, and is followed by another one", async () => {
    const reader = await openReader();
    const slow: Partial<IoFault> = { methods: ["read", "mkdir", "setattr"], effect: { $case: "latency", value: { delayUs: 60_000_000 } } };
    await volume.rule({ slow });
    const making = ["mkdir folder/new && echo made", "chmod 700 other && echo made"].map(async (line) => (await run(volume, line)).text);
    const held = [reader.goOn(), ...making];
    await sleep(500);
    const startMs = performance.now();
    await volume.rule({ slow, other: { methods: ["write"], effect: { $case: "error", value: { errno: 28 } } } });
    assert.ok(performance.now() - startMs < 5_000);
    assert.equal((await run(volume, "echo x > g")).text.includes("No space left"), true);
    await volume.rule({});
    assert.deepEqual(await Promise.all(held), ["4096", "made", "made"]);
  });

  it("takes other faults on while a program goes on to append to a file that was open before", async () => {
    const writer = new Program(volume, "exec 6>>log; echo open; read; for i in {1..1000}; do printf %50s . >&6; done");
    assert.equal(await writer.hear(), "open");
    const slow: Partial<IoFault> = { effect: { $case: "latency", value: { delayUs: 3_000_000 } } };
    await volume.rule({ slow });
    void writer.goOn();
    await sleep(4_000); // one write is answered, another one held back
    const startMs = performance.now();
    await volume.rule({ slow, other: { methods: ["mkdir"], effect: { $case: "error", value: { errno: 28 } } } });
    const tookMs = performance.now() - startMs;
    writer.end();
    assert.ok(tookMs < 1_000, `took ${tookMs} ms`);
  });

  it("delays each call, also when it was followed by another one, of files that were open before a fault and of those that were not", async () => {
    const append = "exec 6>>log; echo open; read; for i in {1..10}; do printf . >&6; done; echo done";
    const [early, killed] = [new Program(volume, append), new Program(volume, append)];
    for (const writer of [early, killed]) assert.equal(await writer.hear(), "open");
    await volume.rule({ slow: { methods: ["write"], effect: { $case: "latency", value: { delayUs: 100_000 } } } });
    const tookMs = async (writer: Program): Promise<number> => {
      const startMs = performance.now();
      assert.equal(await writer.goOn(), "done");
      return performance.now() - startMs;
    };
    const late = new Program(volume, append);
    assert.equal(await late.hear(), "open");
    const took = [await tookMs(early), await tookMs(late)];
    await volume.killServer();
    const next = new Program(volume, append);
    assert.equal(await next.hear(), "open");
    took.push(await tookMs(killed), await tookMs(next));
    assert.ok(
      took.every((ms) => ms >= 1_000),
      took.join(", "),
    );
  });

  it("can be killed and followed while somebody has the kernel drop what it waits for", async () => {
    const reader = await openReader();
    process.kill(volume.pid, "SIGSTOP");
    const read = reader.goOn();
    await sleep(300);
    const dropped = volume.notifier.send(invalidateNode(statSync(join(volume.plain, "f")).ino), { isAwaited: false });
    const isDropped = await Promise.race([dropped.then(() => true), sleep(300, false)]);
    assert.equal(isDropped, false, "nothing had to wait: this test shows nothing");
    await volume.killServer();
    assert.equal(await read, "4096");
    await dropped;
  });

  for (const [title, rules] of Object.entries(faults))
    it(`again and again loses nothing, refuses nothing and keeps nobody waiting, with ${title}`, async () => {
      await volume.rule(rules);
      const child = spawn("timeout", ["-s", "KILL", "80", "python3", "-u", PROGRAM], {
        cwd: volume.path,
        stdio: ["pipe", "pipe", "pipe"],
      });
      const ended = Promise.all([once(child, "close"), text(child.stdout), text(child.stderr)]);
      for (let kill = 0; kill < KILLS && child.exitCode === null; kill += 1) {
        await sleep(20 + Math.random() * 200);
        await volume.killServer();
        await volume.rule(rules);
      }
      child.stdin.on("error", () => undefined); // it has ended; its exit code tells
      child.stdin.end("\n");
      const [[code], output, complaint] = await ended;
      assert.equal(complaint, "");
      assert.equal(code, 0);
      assert.ok(Number(output) > 0, `${output} rounds`);
    });
});

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { IoFault } from "../../proto/gen/faults.ts";
import { Volume } from "./support/volume.ts";

const PROGRAM = join(import.meta.dirname, "support/busy-program.py");
const KILLS = 20;
const faults: Readonly<Record<string, Readonly<Record<string, Partial<IoFault>>>>> = {
  "no fault": {},
  "some operations delayed": { slow: { percent: 20, effect: { $case: "latency", value: { delayUs: 5_000 } } } },
};

describe("a volume behind FUSE whose server is killed again and again", function () {
  this.timeout(90_000);
  let volume: Volume;

  beforeEach(async () => {
    volume = await Volume.open();
  });
  afterEach(() => volume.close());

  for (const [title, rules] of Object.entries(faults))
    it(`loses nothing, refuses nothing and keeps nobody waiting, with ${title}`, async () => {
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

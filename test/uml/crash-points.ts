import assert from "node:assert/strict";
import { join } from "node:path";
import { ensurePackages } from "../../lab/packages.ts";
import { createProgress } from "../../lab/progress.ts";
import { runInUml } from "../../lab/uml.ts";
import { umlPackages } from "../../lab/uml-kernel.ts";
import { crashSeed } from "../support/seeded.ts";

/** Some points of the crash matrix on a kernel with netem; part of `npm run test:crash`, as it takes some minutes. */
const POINTS = 60;
const root = join(import.meta.dirname, "../..");

describe("an agent on a kernel with netem", () => {
  before(() => ensurePackages(umlPackages, { isRoot: process.getuid?.() === 0, progress: createProgress(process.stderr) }));

  it("leaves nothing that its next life does not remove, and stands still without harm", async function () {
    this.timeout(1_800_000);
    const mocha = ["node_modules/mocha/bin/mocha.js", "--no-config", "--timeout", "90000", "test/netns/crash.test.ts"];
    const environment = { SQUALL_CRASH_POINTS: String(POINTS), SQUALL_CRASH_SEED: String(crashSeed()) };
    const { exitCode, output } = await runInUml([process.execPath, ...mocha], { cwd: root, timeoutMs: 1_780_000, environment });
    assert.equal(exitCode, 0, output);
    const tried = output.match(/^ +\d+ of \d+ points, nothing left.*$/gm) ?? [];
    assert.equal(tried.length, 2, output);
    for (const line of tried) console.log(line);
  });
});

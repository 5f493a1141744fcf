import assert from "node:assert/strict";
import { join } from "node:path";
import { ensurePackages } from "../../lab/packages.ts";
import { createProgress } from "../../lab/progress.ts";
import { runInUml, umlPackages } from "../../lab/uml.ts";

/** Some points of the crash matrix on a kernel with netem; part of `npm run test:crash`, as it takes four minutes. */
const root = join(import.meta.dirname, "../..");

describe("an agent on a kernel with netem", () => {
  before(() => ensurePackages(umlPackages, { isRoot: process.getuid?.() === 0, progress: createProgress(process.stderr) }));

  it("leaves nothing that its next life does not remove", async function () {
    this.timeout(600_000);
    const mocha = [
      "node_modules/mocha/bin/mocha.js",
      "--no-config",
      "--timeout",
      "90000",
      "--grep",
      "next life",
      "test/netns/crash.test.ts",
    ];
    const environment = { SQUALL_CRASH_POINTS: "12" };
    const { exitCode, output } = await runInUml([process.execPath, ...mocha], { cwd: root, timeoutMs: 580_000, environment });
    assert.equal(exitCode, 0, output);
    assert.match(output, /1\d of \d+ points, nothing left/);
  });
});

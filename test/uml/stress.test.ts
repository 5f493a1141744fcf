import assert from "node:assert/strict";
import { join } from "node:path";
import { ensurePackages, stressPackages } from "../../lab/packages.ts";
import { createProgress } from "../../lab/progress.ts";
import { runInUml } from "../../lab/uml.ts";
import { umlPackages } from "../../lab/uml-kernel.ts";

const root = join(import.meta.dirname, "../..");

/** The tests of stress once more on a kernel with cgroup version 2; what failed inside is shown as it was printed. */
describe("stress on a kernel with cgroup version 2", () => {
  before(() =>
    ensurePackages([...umlPackages, ...stressPackages], {
      isRoot: process.getuid?.() === 0,
      progress: createProgress(process.stderr),
    }),
  );

  it("does and ends as on version 1", async () => {
    const mocha = ["node_modules/mocha/bin/mocha.js", "--no-config", "--timeout", "90000", "test/node/stress.test.ts"];
    const { exitCode, output } = await runInUml([process.execPath, ...mocha], { cwd: root, timeoutMs: 280_000 });
    assert.equal(exitCode, 0, output);
    assert.match(output, /cgroup v2/);
    assert.ok(Number(/(\d+) passing/.exec(output)?.[1] ?? 0) >= 16, output);
  });
});

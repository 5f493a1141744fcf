import assert from "node:assert/strict";
import { join } from "node:path";
import { ensurePackages } from "../../lab/packages.ts";
import { createProgress } from "../../lab/progress.ts";
import { runInUml } from "../../lab/uml.ts";
import { umlPackages } from "../../lab/uml-kernel.ts";
import { compareEngines, TOLERANCE } from "./engines.ts";

/**
 * The kernel tests of shaping once more, in a User-Mode Linux kernel: it has netem, so packets are shaped by queueing disciplines, and only
 * iptables-legacy works there. One boot for each family; what failed inside is shown as it was printed.
 */
const root = join(import.meta.dirname, "../..");

describe("shaping on a kernel with netem and iptables-legacy", () => {
  before(() => ensurePackages(umlPackages, { isRoot: process.getuid?.() === 0, progress: createProgress(process.stderr) }));

  for (const family of ["IPv4", "IPv6"]) {
    it(`${family}: every parameter keeps its statistics, and nothing is left`, async () => {
      const mocha = [
        "node_modules/mocha/bin/mocha.js",
        "--no-config",
        "--timeout",
        "90000",
        "--grep",
        family,
        "test/netns/shaping.test.ts",
      ];
      const { exitCode, output } = await runInUml([process.execPath, ...mocha], { cwd: root, timeoutMs: 280_000 });
      assert.equal(exitCode, 0, output);
      const passed = Number(/(\d+) passing/.exec(output)?.[1] ?? 0);
      assert.ok(passed >= 11, output);
    });
  }

  it("both engines agree within 10 % on every figure", async function () {
    this.timeout(420_000);
    for (const [name, { netem, nfqueue }] of Object.entries(await compareEngines())) {
      assert.ok(Math.abs(nfqueue / netem - 1) <= TOLERANCE, `${name}: ${netem} by netem, ${nfqueue} by NFQUEUE`);
    }
  });
});

import assert from "node:assert/strict";
import { join } from "node:path";
import { ensurePackages } from "../../lab/packages.ts";
import { createProgress } from "../../lab/progress.ts";
import { runInUml } from "../../lab/uml.ts";
import { umlPackages } from "../../lab/uml-kernel.ts";

const root = join(import.meta.dirname, "../..");

/**
 * Volumes once more on Linux 6.1, which cannot be asked for requests that a server had read, and cgroup version 2, where a program of the kernel refuses
 * devices. Each file as a whole passes there, too, in 9 minutes; but not twenty kills (crashes.test.ts): in User-Mode Linux the kernel looks at no page for a
 * process that is being killed, even where it is there, and answers EIO.
 */
const files: Readonly<Record<string, { readonly grep: string; readonly count: number }>> = {
  "test/node/fuse-devices.test.ts": { grep: ".", count: 1 },
  "test/node/volumes.test.ts": { grep: "daemon is killed|theirs is killed|daemon and sidecar were killed", count: 3 },
  "test/files/volume.test.ts": { grep: "plain folder does|SIGKILL|memory map", count: 4 },
  "test/files/crashes.test.ts": { grep: "takes other faults on|can be killed and followed", count: 3 },
};

describe("volumes on an older kernel with cgroup version 2", () => {
  before(() => ensurePackages(umlPackages, { isRoot: process.getuid?.() === 0, progress: createProgress(process.stderr) }));

  for (const [file, { grep, count }] of Object.entries(files))
    it(`pass what they pass here: ${file}`, async () => {
      const mocha = ["node_modules/mocha/bin/mocha.js", "--no-config", "--timeout", "90000", "--grep", grep, file];
      const { exitCode, output } = await runInUml([process.execPath, ...mocha], { cwd: root, timeoutMs: 280_000 });
      assert.equal(exitCode, 0, output);
      assert.equal(Number(/(\d+) passing/.exec(output)?.[1]), count, output);
    });
});

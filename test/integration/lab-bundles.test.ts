import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeBundles } from "../../lab/bundles.ts";

describe("the bundles", () => {
  let folder: string;
  // Outside the working tree, as in the image: no package of node_modules is near.
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "squall-bundles-"));
    await writeBundles(folder);
  });
  after(() => rm(folder, { recursive: true, force: true }));

  function start(
    file: string,
    variables: NodeJS.ProcessEnv = {},
    ms = 10_000,
  ): { readonly output: string; readonly status: number | null } {
    const { stdout, stderr, status } = spawnSync(process.execPath, [join(folder, file)], {
      encoding: "utf8",
      env: variables,
      timeout: ms,
      killSignal: "SIGKILL",
    });
    return { output: stdout + stderr, status };
  }

  for (const file of ["webhook.mjs", "controller.mjs", "sidecar.mjs"]) {
    it(`${file} begins, and ends for want of its configuration`, () => {
      const { output, status } = start(file);
      assert.match(output, /^SQUALL_[A-Z_]+: is not set\.$/m);
      assert.notEqual(status, 0);
    });
  }

  it("have nothing beyond ASCII: one such letter has V8 keep all of a bundle at two bytes a character", async () => {
    for (const file of (await readdir(folder)).filter((name) => name.endsWith(".mjs")))
      assert.match(await readFile(join(folder, file), "latin1"), /^[\0-\x7f]*$/, file);
  });

  it("sidecar-engine.mjs finds its machine code, and wants to be a thread", () => {
    assert.match(start("sidecar-engine.mjs").output, /worker thread/);
  });

  it("have the sidecar stay while nobody answers its enrolment", () => {
    const environment = {
      SQUALL_POD_UID: "uid",
      SQUALL_POD_NAME: "pod",
      SQUALL_POD_NAMESPACE: "namespace",
      SQUALL_POD_IPS: "127.0.0.1",
      SQUALL_HOST_IPS: "127.0.0.1",
      SQUALL_ENROLMENT_ADDRESS: "127.0.0.1:1",
    };
    // The sidecar sweeps the network that it finds and keeps a journal: both are to be its own.
    const script = `
      import { execFileSync } from "node:child_process";
      execFileSync("mount", ["-t", "tmpfs", "squall-test", "/var/lib"]);
      await import(process.env.BUNDLE);`;
    const alone = spawnSync("unshare", ["--net", "--mount", process.execPath, "--input-type=module", "--eval", script], {
      encoding: "utf8",
      env: { ...environment, BUNDLE: join(folder, "sidecar.mjs"), PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
      timeout: 2000,
    });
    assert.match(alone.stdout, /enrolment failed and is tried again/);
    assert.equal(alone.signal ?? alone.status, 0, "it ends on SIGTERM with code 0, and not before");
  });
});

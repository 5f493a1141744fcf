import assert from "node:assert/strict";
import { ensurePackages, findMissingPackages, installCommand, missingIn } from "../../lab/packages.ts";
import { silentProgress } from "../../lab/progress.ts";

const NEVER_PACKAGED = "squall-no-such-package";

describe("missingIn", () => {
  it("counts only installed packages: not those removed with their configuration left, nor unknown ones", () => {
    const answer = "tini installed\nrunc config-files\n";
    assert.deepEqual(missingIn(["tini", "runc", "buildah"], answer), ["runc", "buildah"]);
  });

  it("does not take one package for another whose name begins the same", () => {
    assert.deepEqual(missingIn(["iptables"], "iptables-persistent installed\n"), ["iptables"]);
  });
});

describe("findMissingPackages", () => {
  it("finds a known package beside an unknown one", async () => {
    assert.deepEqual(await findMissingPackages(["dpkg", NEVER_PACKAGED]), [NEVER_PACKAGED]);
  });
});

describe("ensurePackages", () => {
  it("tells who is not root the one command to run", async () => {
    await assert.rejects(ensurePackages([NEVER_PACKAGED], { isRoot: false, progress: silentProgress }), {
      message: `The lab needs Debian packages that are not installed. Run:\n  ${installCommand([NEVER_PACKAGED])}`,
    });
  });

  it("needs no root where nothing is missing", async () => {
    await ensurePackages(["dpkg"], { isRoot: false, progress: silentProgress });
  });
});

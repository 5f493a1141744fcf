import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { bundlePath } from "../../common/sidecar-layout.ts";
import { codenameOf } from "../../lab/base-image.ts";
import { fullName, imageNames } from "../../lab/images.ts";
import { librariesOf } from "../../lab/node/pause-image.ts";

const root = join(import.meta.dirname, "../..");

describe("the images", () => {
  it("are tagged with the package's version, as the demo's manifest names them", async () => {
    const { squall, shop } = await imageNames();
    assert.match(squall, /^squall:\d/);
    assert.ok(readFileSync(join(root, "lab/demo/shop.yaml"), "utf8").includes(`image: ${shop}\n`));
  });

  it("keep the bundles where the injector and the manifests look for them", () => {
    const containerfile = readFileSync(join(root, "Containerfile"), "utf8");
    assert.match(containerfile, /^COPY dist\/ \/squall\/$/m);
    assert.equal(bundlePath("sidecar"), "/squall/sidecar.mjs");
  });

  it("differ between lab and Docker in BASE only", () => {
    assert.match(readFileSync(join(root, "Containerfile"), "utf8"), /^ARG BASE=node:24-bookworm-slim\nFROM \$\{BASE\}$/m);
  });
});

describe("fullName", () => {
  it("is what containerd makes of a short name, and leaves a full one alone", () => {
    assert.equal(fullName("squall:0.1.0"), "docker.io/library/squall:0.1.0");
    assert.equal(fullName("example.org/squall:1"), "example.org/squall:1");
  });
});

describe("codenameOf", () => {
  it("reads the release with and without quotes", () => {
    assert.equal(codenameOf("ID=debian\nVERSION_CODENAME=bookworm\n"), "bookworm");
    assert.equal(codenameOf('VERSION_CODENAME="noble"\n'), "noble");
  });

  it("says what is missing on a machine that names none", () => {
    assert.throws(() => codenameOf("ID=arch\n"), /VERSION_CODENAME/);
  });
});

describe("librariesOf", () => {
  it("finds the files that ldd names, the loader too, and not the kernel's page", () => {
    const answer =
      "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f60)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f61)\n";
    assert.deepEqual(librariesOf(answer), ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
  });
});

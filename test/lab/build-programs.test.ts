import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { compilerCall, isGoNewEnough } from "../../lab/build-programs.ts";
import { programs } from "../../lab/programs.ts";

const goMod = (folder: string): string => readFileSync(join(import.meta.dirname, "../../lab", folder, "go.mod"), "utf8");

describe("compilerCall", () => {
  it("builds a program of a pinned Go module without C and without paths of this machine", () => {
    assert.deepEqual(compilerCall(programs.etcd.recipe, "/usr/bin/go", "/w/etcd", "/w"), [
      "env",
      "CGO_ENABLED=0",
      "/usr/bin/go",
      "build",
      "-v",
      "-trimpath",
      "-ldflags",
      "-s -w",
      "-o",
      "/w/etcd",
      "go.etcd.io/etcd/server/v3",
    ]);
  });

  it("installs CoreDNS at its version into the workshop", () => {
    const argv = compilerCall(programs.coredns.recipe, "go", "/w/coredns", "/w");
    assert.ok(argv.includes("GOBIN=/w"));
    assert.equal(argv.at(-1), "github.com/coredns/coredns@v1.12.4");
  });

  it("tells the Kubernetes programs their version", () => {
    assert.match(programs.kubelet.recipe.how === "go-module" ? programs.kubelet.recipe.ldflags : "", /gitVersion=v1\.34\.4 /);
  });
});

describe("the pinned Go modules", () => {
  it("have the versions that the lab names", () => {
    assert.match(goMod("kubernetes"), new RegExp(`k8s\\.io/kubernetes v${programs.kubelet.version.replaceAll(".", "\\.")}\\b`));
    assert.match(goMod("etcd"), new RegExp(`go\\.etcd\\.io/etcd/server/v3 v${programs.etcd.version.replaceAll(".", "\\.")}\\b`));
  });

  it("know every Kubernetes program as a tool", () => {
    const tools = Object.values(programs).flatMap(({ recipe }) =>
      recipe.how === "go-module" && recipe.folder === "kubernetes" ? [recipe.package] : [],
    );
    assert.deepEqual(
      tools.filter((tool) => !goMod("kubernetes").includes(`\t${tool}\n`)),
      [],
    );
  });
});

describe("isGoNewEnough", () => {
  for (const [line, expected] of [
    ["go version go1.24 linux/amd64", true],
    ["go version go1.26.8 linux/amd64", true],
    ["go version go2.0 linux/amd64", true],
    ["go version go1.23.9 linux/amd64", false],
    ["go version go1.19.8 linux/amd64", false],
    ["no such command", false],
  ] as const) {
    it(`is ${expected} for "${line}"`, () => assert.equal(isGoNewEnough(line), expected));
  }
});

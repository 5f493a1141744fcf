import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { cachedPath, ensureBinaries, findBinaries } from "../../lab/binaries.ts";
import { silentProgress } from "../../lab/progress.ts";

describe("findBinaries", () => {
  let folder: string;
  let sources: { readonly cache: string; readonly kubebuilderAssets: string };
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "squall-test-"));
    sources = { cache: join(folder, "cache"), kubebuilderAssets: join(folder, "assets") };
  });
  afterEach(() => rm(folder, { recursive: true }));

  /** A program that says this version. */
  async function put(path: string, version: string): Promise<void> {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, `#!/bin/sh\necho "${version}"\n`, { mode: 0o755 });
  }

  it("prefers the cache to $KUBEBUILDER_ASSETS", async () => {
    await put(join(sources.kubebuilderAssets, "kube-apiserver"), "Kubernetes v1.34.4");
    await put(cachedPath(sources.cache, "kube-apiserver"), "Kubernetes v1.34.4");
    const found = await findBinaries(["kube-apiserver"], sources);
    assert.equal(found.get("kube-apiserver"), cachedPath(sources.cache, "kube-apiserver"));
  });

  it("takes what $KUBEBUILDER_ASSETS has, when its minor version is ours", async () => {
    await put(join(sources.kubebuilderAssets, "kube-apiserver"), "Kubernetes v1.34.1");
    await put(join(sources.kubebuilderAssets, "etcd"), "etcd Version: 3.4.30");
    const found = await findBinaries(["kube-apiserver", "etcd"], sources);
    assert.deepEqual([...found], [["kube-apiserver", join(sources.kubebuilderAssets, "kube-apiserver")]]);
  });

  it("ignores a file that cannot be executed", async () => {
    const path = cachedPath(sources.cache, "etcd");
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, "");
    assert.equal((await findBinaries(["etcd"], sources)).size, 0);
  });

  it("keeps versions apart, so that two checkouts can share the cache", () => {
    assert.equal(cachedPath("/c", "kubelet"), "/c/bin-v1.34.4/kubelet");
    assert.equal(cachedPath("/c", "etcd"), "/c/bin-v3.6.6/etcd");
  });

  it("makes nothing when all programs are there", async () => {
    for (const name of ["etcd", "coredns"] as const) await put(cachedPath(sources.cache, name), "any");
    const paths = await ensureBinaries(["etcd", "coredns"], { cache: sources.cache }, silentProgress);
    assert.deepEqual(paths, { etcd: cachedPath(sources.cache, "etcd"), coredns: cachedPath(sources.cache, "coredns") });
  });
});

import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findController, parentOf, parseMemberships } from "../../../daemon/cgroup/cgroup.ts";
import { readMemoryLimit, readUsage } from "../../../daemon/cgroup/usage.ts";

describe("parseMemberships", () => {
  it("reads hierarchies of version 1 and the one of version 2", () => {
    const text = "5:memory:/kubepods/pod1/c1\n4:cpu,cpuacct:/kubepods\n1:name=systemd:/a:b\n0::/kubepods.slice\n";
    assert.deepEqual(parseMemberships(text), [
      { controllers: ["memory"], path: "/kubepods/pod1/c1" },
      { controllers: ["cpu", "cpuacct"], path: "/kubepods" },
      { controllers: ["name=systemd"], path: "/a:b" },
      { controllers: [], path: "/kubepods.slice" },
    ]);
  });

  it("passes over a group that was removed, and lines of another form", () => {
    assert.deepEqual(parseMemberships("0::/gone (deleted)\nnonsense\n\n"), []);
  });
});

describe("findController", () => {
  it("prefers version 1, and falls back to version 2", () => {
    const hybrid = new Map([
      ["memory", "/cg/memory/a"],
      ["", "/cg/unified/a"],
    ]);
    assert.deepEqual(findController(hybrid, "memory"), { version: 1, folder: "/cg/memory/a" });
    assert.deepEqual(findController(hybrid, "cpu"), { version: 2, folder: "/cg/unified/a" });
    assert.equal(findController(new Map([["memory", "/cg/memory/a"]]), "cpu"), undefined);
  });
});

describe("what a group uses", () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "squall-cgroup-"));
  });
  afterEach(() => rm(root, { recursive: true, force: true }));
  const write = async (files: Readonly<Record<string, string>>): Promise<void> => {
    for (const [path, text] of Object.entries(files)) {
      await mkdir(join(root, path, ".."), { recursive: true });
      await writeFile(join(root, path), `${text}\n`);
    }
  };

  it("is read from version 2, with the least limit of all groups above", async () => {
    await write({
      "pod/memory.max": "200000000",
      "pod/c/memory.max": "max",
      "pod/c/memory.current": "1234",
      "pod/c/cpu.stat": "usage_usec 7\nuser_usec 5",
      "pod/c/memory.events": "low 0\noom 9\noom_kill 3\noom_group_kill 0",
    });
    const cgroup = new Map([["", join(root, "pod/c")]]);
    assert.equal(await readMemoryLimit(cgroup), 200_000_000);
    assert.deepEqual(await readUsage(cgroup), { cpuNs: 7000n, memoryBytes: 1234, oomKills: 3 });
    assert.equal(await readMemoryLimit(parentOf(parentOf(cgroup))), undefined);
  });

  it("is read from version 1", async () => {
    await write({
      "memory/memory.stat": "cache 1\nhierarchical_memory_limit 500",
      "memory/memory.usage_in_bytes": "99",
      "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2",
      "cpuacct/cpuacct.usage": "12345678901234567",
    });
    const cgroup = new Map([
      ["memory", join(root, "memory")],
      ["cpuacct", join(root, "cpuacct")],
    ]);
    assert.equal(await readMemoryLimit(cgroup), 500);
    assert.deepEqual(await readUsage(cgroup), { cpuNs: 12_345_678_901_234_567n, memoryBytes: 99, oomKills: 2 });
  });

  it("has no limit where version 1 says the largest number", async () => {
    await write({ "memory/memory.stat": "hierarchical_memory_limit 9223372036854771712" });
    assert.equal(await readMemoryLimit(new Map([["memory", join(root, "memory")]])), undefined);
  });

  it("is unknown once the group is gone", async () => {
    assert.deepEqual(await readUsage(new Map([["", join(root, "gone")]])), {
      cpuNs: undefined,
      memoryBytes: undefined,
      oomKills: undefined,
    });
  });
});

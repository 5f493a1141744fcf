import assert from "node:assert/strict";
import { type IoFault, IoMistake_Filling } from "../../../proto/gen/faults.ts";
import { cacheRulesFor, FaultLayer, makeMistakes, overrideAttributes } from "../../../sidecar/files/fault-layer.ts";

const fault = (over: Partial<IoFault>): IoFault => ({
  volume: "data",
  mountPath: "/var/lib/data",
  subPath: "",
  path: "",
  methods: [],
  percent: 100,
  effect: { $case: "latency", value: { delayUs: 5_000 } },
  ...over,
});
const error = (errno: number): IoFault["effect"] => ({ $case: "error", value: { errno } });

describe("FaultLayer", () => {
  let nowMs = 0;
  let draws: readonly number[] = [];
  let layer: FaultLayer;
  const rule = (faults: Readonly<Record<string, Partial<IoFault>>>, remainingMs = 1_000): readonly unknown[] =>
    layer.rule(Object.entries(faults).map(([id, over]) => ({ id, io: fault(over), remainingMs })));

  beforeEach(() => {
    nowMs = 0;
    draws = [];
    layer = new FaultLayer({
      nowMs: () => nowMs,
      random: () => {
        const [first = 0, ...rest] = draws;
        draws = rest;
        return first;
      },
    });
  });

  const judge = (method: string, path: string) => layer.judge(method, layer.faultsAt(path));

  it("adds delays up and takes the first error in the order of ids", () => {
    rule({ c: { effect: error(28) }, a: {}, b: { effect: error(5) }, d: {} });
    const verdict = judge("write", "/x");
    assert.deepEqual([verdict?.delayMs, verdict?.errno], [10, 5]);
  });

  it("matches the path that the container sees, and what of the volume is mounted there alone", () => {
    rule({ a: { subPath: "pg", path: "/var/lib/data/wal/*" } });
    assert.equal(layer.faultsAt("/pg/wal/1").length, 1);
    assert.equal(layer.faultsAt("/wal/1").length, 0);
    assert.equal(layer.faultsAt("/pgx/wal/1").length, 0);
  });

  it("hits methods that are named, or all", () => {
    rule({ a: { methods: ["read"] } });
    assert.equal(judge("write", "/x"), undefined);
    assert.equal(judge("read", "/x")?.delayMs, 5);
    rule({ a: {} });
    assert.equal(judge("fsync", "/x")?.delayMs, 5);
  });

  it("draws for each operation", () => {
    rule({ a: { percent: 30 } });
    draws = [0.29, 0.31];
    assert.notEqual(judge("read", "/x"), undefined);
    assert.equal(judge("read", "/x"), undefined);
    rule({ a: { percent: 0 } });
    assert.equal(judge("read", "/x"), undefined);
  });

  it("lets everything pass once the time of a fault is over", () => {
    rule({ a: {} }, 100);
    assert.notEqual(judge("read", "/x"), undefined);
    nowMs = 100;
    assert.equal(judge("read", "/x"), undefined);
    rule({ a: {} }, 100);
    assert.notEqual(judge("read", "/x"), undefined);
  });

  it("tells which faults came, went or changed, and not those whose lease was renewed", () => {
    assert.equal(rule({ a: {}, b: {} }).length, 2);
    assert.equal(rule({ a: {}, b: {} }, 5_000).length, 0);
    assert.equal(rule({ a: { percent: 1 }, b: {} }).length, 2, "the old one and the new one");
    assert.equal(rule({}).length, 2);
  });

  it("counts by method, and goes on counting when a fault is changed", () => {
    rule({ a: { methods: ["read"], effect: error(5) } });
    for (const method of ["read", "read", "write"]) {
      layer.see(method);
      judge(method, "/x");
    }
    rule({ a: { methods: ["read"], effect: error(28) } });
    layer.see("read");
    judge("read", "/x");
    const [counts] = layer.counts();
    assert.deepEqual(counts?.methods, [{ method: "read", seen: 3, matched: 3, delayed: 0, failed: 3, falsified: 0 }]);
  });

  it("says what the kernel must not keep", () => {
    rule({ a: { methods: ["read"] } });
    assert.deepEqual(cacheRulesFor(layer.faultsAt("/x")), { keepsData: false, keepsNames: true });
    rule({ a: { methods: ["write"], effect: { $case: "attributes", value: { size: 1 } } } });
    assert.deepEqual(cacheRulesFor(layer.faultsAt("/x")), { keepsData: true, keepsNames: false });
    assert.deepEqual(cacheRulesFor([]), { keepsData: true, keepsNames: true });
  });

  it("changes attributes one fault after the other", () => {
    rule({
      a: { effect: { $case: "attributes", value: { size: 7, kind: 0o040000 } } },
      b: { effect: { $case: "attributes", value: { perm: 0o123, atime: { seconds: -5, nanos: 6 } } } },
    });
    const verdict = judge("getattr", "/x") ?? assert.fail("not hit");
    const found = { ino: 1, size: 1, blocks: 1, atime: 1, atimeNs: 1, mtime: 1, mtimeNs: 1, ctime: 1, ctimeNs: 1 };
    const told = overrideAttributes({ ...found, mode: 0o100644, nlink: 1, uid: 0, gid: 0, rdev: 0, blksize: 1 }, verdict);
    assert.deepEqual([told.size, told.mode, told.atime, told.atimeNs, told.mtime], [7, 0o040123, -5, 6, 1]);
  });

  it("makes as many and as long mistakes as it may, and leaves the length alone", () => {
    const value = { filling: IoMistake_Filling.ZERO, maxOccurrences: 2, maxLength: 3 };
    rule({ a: { effect: { $case: "mistake", value } } });
    const verdict = judge("read", "/x") ?? assert.fail("not hit");
    const bytes = Buffer.from("abcdefghij");
    draws = [0.99, 0, 0.99, 0.5, 0.4];
    makeMistakes(bytes, verdict, () => {
      const [first = 0, ...rest] = draws;
      draws = rest;
      return first;
    });
    assert.equal(bytes.toString("latin1"), "\0\0\0de\0\0hij");
    makeMistakes(Buffer.alloc(0), verdict, Math.random);
  });
});

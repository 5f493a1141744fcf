import assert from "node:assert/strict";
import { applyTable, readState, removePatch, silence } from "../../../daemon/time/patch-process.ts";
import { nameState } from "../../../daemon/time/patch-state.ts";
import { layout } from "../../../daemon/time/payload.ts";
import { encodeTable, nativeTable, TABLE } from "../../../daemon/time/skew-table.ts";
import { StopError } from "../../../daemon/time/stop-process.ts";
import { readOwnVdso } from "../../../daemon/time/vdso-image.ts";
import { planPatch } from "../../../daemon/time/vdso-patch.ts";
import { FAKE_BASE, FAKE_STACK, type FakeTarget, fakeTarget } from "../../support/fake-target.ts";

const patch = planPatch(readOwnVdso());
const native = new Map([0, 1, 4, 5, 6, 7, 8, 9].map((clock) => [clock, 1_000n]));
const skew = (offset: bigint, leftNs = 1_000_000n): Buffer => encodeTable(new Map([[0, offset]]), leftNs, native);
const apply = (target: FakeTarget, table: Buffer): string => applyTable(target.memory, table, patch, target.stopper).is;
const remove = (target: FakeTarget): string => removePatch(target.memory, patch, target.stopper).is;
const stateOf = (target: FakeTarget): string => nameState(readState(target.memory, patch));

function skewed(): FakeTarget {
  const target = fakeTarget(patch.pristine);
  assert.equal(apply(target, skew(5n)), "done");
  target.writes.length = 0;
  target.stops = 0;
  return target;
}

describe("applyTable", () => {
  it("patches code in a stopped process only, hooks last, and switches the clocks over while it runs", () => {
    const target = fakeTarget(patch.pristine);
    assert.equal(apply(target, skew(5n)), "done");
    assert.equal(stateOf(target), "skewed");
    const { offset } = patch.payload;
    const tables = { from: offset + layout.selector, to: offset + layout.code };
    const running = target.writes.filter(({ isStopped }) => !isStopped);
    assert.ok(
      running.every((write) => write.length === 8 && write.offset % 8 === 0 && write.offset >= tables.from && write.offset < tables.to),
    );
    assert.equal(running.at(-1)?.offset, offset + layout.selector);
    const stopped = target.writes.filter(({ isStopped }) => isStopped).map((write) => write.offset);
    assert.deepEqual(stopped.slice(-patch.hookWords.length), patch.hookWords);
    assert.equal(stopped[0], offset);
  });

  it("renews without a stop, by nothing but the ends of the table in force", () => {
    const target = skewed();
    assert.equal(apply(target, skew(5n, 9_000_000n)), "done");
    assert.deepEqual(
      target.writes.map(({ offset, length }) => [offset - patch.payload.offset, length]),
      [[layout.tables + TABLE + 8, 8]],
    );
    assert.equal(target.stops, 0);
  });

  it("changes offsets without a stop, in the table that nobody reads", () => {
    const target = skewed();
    assert.equal(apply(target, skew(6n)), "done");
    assert.equal(target.stops, 0);
    const at = target.writes.map(({ offset }) => offset - patch.payload.offset);
    assert.ok(at.slice(0, -1).every((offset) => offset >= layout.tables && offset < layout.tables + TABLE));
    assert.equal(at.at(-1), layout.selector);
    const state = readState(target.memory, patch);
    assert.ok(state.is === "hooked" && state.active === 0 && state.table.equals(skew(6n)));
  });

  it("leaves a process alone that is to be native and is", () => {
    const target = fakeTarget(patch.pristine);
    assert.equal(apply(target, nativeTable()), "done");
    assert.deepEqual(target.writes, []);
  });

  it("refuses what somebody else, or another version, has patched", () => {
    const foreign = Buffer.from(patch.pristine);
    foreign.writeUInt8(0xcc, foreign.length - 1);
    const other = Buffer.from(patch.patched);
    other.writeUInt8(other.readUInt8(patch.payload.offset + 7) ^ 1, patch.payload.offset + 7);
    for (const [image, reason] of [
      [foreign, /Something else has patched its vDSO/],
      [other, /another version of Squall/],
    ] as const) {
      const target = fakeTarget(image);
      const outcomes = [applyTable(target.memory, skew(5n), patch, target.stopper), removePatch(target.memory, patch, target.stopper)];
      for (const outcome of outcomes) assert.match(outcome.is === "failed" ? outcome.reason : outcome.is, reason);
      assert.equal(stateOf(target), "foreign");
      assert.deepEqual(target.writes, []);
    }
  });
});

describe("silence", () => {
  it("makes clocks native without a stop", () => {
    const target = skewed();
    assert.equal(silence(target.memory, patch).is, "done");
    assert.equal(target.stops, 0);
    assert.equal(stateOf(target), "inert");
  });
});

describe("removePatch", () => {
  it("leaves the bytes that were there", () => {
    const target = skewed();
    assert.equal(remove(target), "done");
    assert.ok(target.image.equals(patch.pristine));
  });

  it("unhooks, and leaves the rest, where a thread is inside, and ends the work later", () => {
    const target = skewed();
    target.positions = [{ counter: FAKE_BASE + patch.payload.offset + layout.code, stack: FAKE_STACK }];
    assert.equal(remove(target), "inert");
    for (const word of patch.hookWords) assert.deepEqual(target.image.subarray(word, word + 8), patch.pristine.subarray(word, word + 8));
    assert.equal(stateOf(target), "partial");
    target.positions = [];
    assert.equal(remove(target), "done");
    assert.ok(target.image.equals(patch.pristine));
  });

  it("counts a thread that cannot be looked at as inside", () => {
    const target = skewed();
    target.positions = [undefined];
    assert.equal(remove(target), "inert");
  });

  it("makes a process native that cannot be stopped", () => {
    const target = skewed();
    const stopper = {
      during: () => {
        throw new StopError("Process 7 traces it, as debuggers do. Detach that one.");
      },
    };
    assert.deepEqual(removePatch(target.memory, patch, stopper), {
      is: "inert",
      reason: "Process 7 traces it, as debuggers do. Detach that one.",
    });
    assert.equal(stateOf(target), "inert");
  });
});

describe("a patcher that dies before any of its writes", () => {
  const deeds: readonly { readonly name: string; readonly start: () => FakeTarget; readonly act: (target: FakeTarget) => string }[] = [
    { name: "installing", start: () => fakeTarget(patch.pristine), act: (target) => apply(target, skew(5n)) },
    { name: "changing", start: skewed, act: (target) => apply(target, skew(6n)) },
    { name: "removing", start: skewed, act: remove },
  ];
  for (const { name, start, act } of deeds) {
    it(`while ${name}, leaves what the next one takes back exactly, and builds upon`, () => {
      let deaths = 0;
      for (let writes = 0; ; writes++) {
        const target = start();
        target.writesLeft = writes;
        if (act(target) === "done") break;
        deaths++;
        target.writesLeft = Number.POSITIVE_INFINITY;
        assert.notEqual(stateOf(target), "foreign");
        const other = fakeTarget(target.image);
        assert.equal(remove(target), "done");
        assert.ok(target.image.equals(patch.pristine), `after ${writes} writes`);
        assert.equal(apply(other, skew(7n)), "done");
        assert.equal(stateOf(other), "skewed");
      }
      assert.ok(deaths > 5);
    });
  }
});

import assert from "node:assert/strict";
import { WorkQueue } from "../../controller/queue.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";

describe("WorkQueue", () => {
  let clock: FakeClock;
  let visits: string[];
  let gate: Promise<void> | undefined;
  let failing: Set<string>;
  let queue: WorkQueue;

  beforeEach(() => {
    clock = new FakeClock();
    visits = [];
    gate = undefined;
    failing = new Set();
    queue = new WorkQueue({
      clock,
      workers: 2,
      onError: () => undefined,
      visit: async (key) => {
        visits.push(key);
        await gate;
        if (failing.has(key)) throw new Error("no");
      },
    });
  });

  it("visits a key once however often it is added, never twice at a time, and again when it was added meanwhile", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    gate = promise;
    for (let index = 0; index < 3; index++) queue.add("a");
    await settle();
    queue.add("a");
    queue.add("a");
    await settle();
    assert.deepEqual(visits, ["a"]);
    resolve();
    await settle();
    assert.deepEqual(visits, ["a", "a"]);
    assert.equal(queue.depth, 0);
  });

  it("visits so many at a time and no more", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    gate = promise;
    for (const key of ["a", "b", "c"]) queue.add(key);
    await settle();
    assert.deepEqual(visits, ["a", "b"]);
    assert.equal(queue.depth, 3);
    resolve();
    await settle();
    assert.deepEqual(visits, ["a", "b", "c"]);
  });

  it("waits twice as long after each failure, half a minute at most, and forgets failures after a success", async () => {
    failing.add("a");
    queue.add("a");
    await clock.advance(100 + 200 + 400 + 800 - 1);
    assert.equal(visits.length, 4);
    await clock.advance(1);
    assert.equal(visits.length, 5);
    await clock.advance(600_000);
    const before = visits.length;
    await clock.advance(60_000);
    assert.equal(visits.length - before, 2);
    failing.delete("a");
    await clock.advance(30_000);
    failing.add("a");
    const { length } = visits;
    queue.add("a");
    await clock.advance(100);
    assert.equal(visits.length, length + 2);
  });

  it("takes the earliest of several later times", async () => {
    queue.addAfter("a", 5_000);
    queue.addAfter("a", 1_000);
    queue.addAfter("a", 9_000);
    await clock.advance(1_000);
    assert.deepEqual(visits, ["a"]);
    await clock.advance(20_000);
    assert.deepEqual(visits, ["a"]);
  });

  it("closes when the visits under way have ended, and visits nothing more", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    gate = promise;
    queue.add("a");
    queue.addAfter("b", 10);
    let isClosed = false;
    const closing = queue.close().then(() => {
      isClosed = true;
    });
    await clock.advance(1_000);
    assert.equal(isClosed, false);
    resolve();
    await closing;
    queue.add("c");
    await clock.advance(60_000);
    assert.deepEqual(visits, ["a"]);
    assert.equal(clock.waiting, 0);
  });
});

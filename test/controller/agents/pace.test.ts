import assert from "node:assert/strict";
import { Pace } from "../../../controller/agents/pace.ts";
import { FakeClock, settle } from "../../support/fake-clock.ts";

const AT_ONCE = 128;

describe("Pace", () => {
  let clock: FakeClock;
  let pace: Pace;
  let begun: number[];
  let answers: PromiseWithResolvers<void>[];
  beforeEach(() => {
    clock = new FakeClock();
    pace = new Pace(clock);
    begun = [];
    answers = [];
  });

  /** So many calls that wait for an answer. */
  function call(count: number): void {
    for (let left = count; left > 0; left--) {
      const answer = Promise.withResolvers<void>();
      const index = answers.push(answer) - 1;
      void pace.call(() => {
        begun.push(index);
        return answer.promise;
      });
    }
  }

  it("gives and throws what a call does", async () => {
    assert.equal(await pace.call(() => Promise.resolve(7)), 7);
    await assert.rejects(
      pace.call(() => Promise.reject(new Error("no"))),
      /^Error: no$/,
    );
    assert.equal(clock.waiting, 0);
  });

  it("makes so many calls at a time, and next the one that has waited longest", async () => {
    call(AT_ONCE + 3);
    await settle();
    assert.equal(begun.length, AT_ONCE);
    answers[5]?.resolve();
    await settle();
    assert.deepEqual(begun.slice(AT_ONCE), [AT_ONCE]);
    answers[6]?.reject(new Error("no"));
    answers[7]?.resolve();
    await settle();
    assert.deepEqual(begun.slice(AT_ONCE), [AT_ONCE, AT_ONCE + 1, AT_ONCE + 2]);
  });

  it("makes urgent calls before all others that wait, in their order", async () => {
    call(AT_ONCE + 2);
    const order: string[] = [];
    for (const name of ["first", "second"])
      void pace.call(
        () => {
          order.push(`${name} after ${begun.length}`);
          return Promise.resolve();
        },
        { isUrgent: true },
      );
    answers[0]?.resolve();
    await settle();
    assert.deepEqual(order, [`first after ${AT_ONCE}`, `second after ${AT_ONCE}`]);
    assert.equal(begun.length, AT_ONCE + 1);
  });

  it("does not let calls that get no answer keep the others waiting", async () => {
    call(3 * AT_ONCE);
    await clock.advance(499);
    assert.equal(begun.length, AT_ONCE);
    await clock.advance(1);
    assert.equal(begun.length, 2 * AT_ONCE);
    // an answer that comes late frees no second place
    for (const answer of answers.slice(0, AT_ONCE)) answer.resolve();
    await settle();
    assert.equal(begun.length, 2 * AT_ONCE);
    await clock.advance(500);
    assert.equal(begun.length, 3 * AT_ONCE);
  });

  it("does what can wait at once while no call waits, and otherwise when none does any more", async () => {
    const done: string[] = [];
    call(AT_ONCE);
    pace.later(() => done.push("at once"));
    assert.deepEqual(done, ["at once"]);
    call(2);
    pace.later(() => done.push("later"));
    const takeBack = pace.later(() => done.push("never"));
    takeBack();
    await settle();
    assert.deepEqual(done, ["at once"]);
    for (const answer of answers.slice(0, 2)) answer.resolve();
    await settle();
    assert.deepEqual(done, ["at once"], "a place was handed on and none became free");
    answers[2]?.resolve();
    await settle();
    assert.deepEqual(done, ["at once", "later"]);
  });

  it("lets a call in between much that could wait", async () => {
    call(AT_ONCE + 1);
    const done: number[] = [];
    for (let index = 0; index < 100; index++)
      pace.later(() => {
        done.push(index);
        if (index === 10) call(AT_ONCE);
      });
    await settle();
    assert.equal(done.length, 0);
    for (const answer of answers.slice(0, 2)) answer.resolve();
    await settle();
    assert.equal(done.length, 11, "calls wait again, so the rest does too");
    await clock.advance(500);
    await settle();
    assert.equal(done.length, 100);
  });
});

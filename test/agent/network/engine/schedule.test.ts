import assert from "node:assert/strict";
import * as fc from "fast-check";
import { createSchedule } from "../../../../agent/network/engine/schedule.ts";

type Move = { readonly push: number } | { readonly popAt: number };
const moves = fc.array(
  fc.oneof(
    fc.integer({ min: 0, max: 50 }).map((push): Move => ({ push })),
    fc.integer({ min: 0, max: 60 }).map((popAt): Move => ({ popAt })),
  ),
  { maxLength: 400 },
);

describe("the schedule of held packets", () => {
  it("gives back what a sorted list would, equal times in the order in which they came", () => {
    fc.assert(
      fc.property(moves, (sequence) => {
        const schedule = createSchedule();
        const model: { readonly due: number; readonly handle: number }[] = [];
        let handle = 0;
        for (const move of sequence) {
          if ("push" in move) {
            schedule.push(move.push, handle);
            model.push({ due: move.push, handle: handle++ });
            model.sort((a, b) => a.due - b.due); // stable
          } else {
            const first = model[0];
            const expected = first !== undefined && first.due <= move.popAt ? model.shift()?.handle : -1;
            assert.equal(schedule.pop(move.popAt), expected);
          }
          assert.equal(schedule.size(), model.length);
          assert.equal(schedule.nextDueMs(), model[0]?.due ?? Infinity);
        }
      }),
    );
  });

  it("keeps thousands in the order of their times, through growth of its ring and its heap", () => {
    for (const dueOf of [(i: number) => i, (i: number) => (i * 7919) % 5003]) {
      const schedule = createSchedule();
      for (let i = 0; i < 5003; i++) schedule.push(dueOf(i), i);
      const popped: number[] = [];
      for (let next = schedule.pop(Infinity); next >= 0; next = schedule.pop(Infinity)) popped.push(dueOf(next));
      assert.deepEqual(
        popped,
        Array.from({ length: 5003 }, (_, i) => i),
      );
    }
  });

  it("has nothing to give when it is empty, even at the end of time", () => {
    assert.equal(createSchedule().pop(Infinity), -1);
    assert.equal(createSchedule().nextDueMs(), Infinity);
  });
});

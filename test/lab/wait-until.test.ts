import assert from "node:assert/strict";
import { waitUntil } from "../../lab/wait-until.ts";

const soon = { timeoutMs: 1, everyMs: 1 };

describe("waitUntil", () => {
  it("looks until it is so", async () => {
    let looks = 0;
    await waitUntil("three", () => ++looks === 3, { timeoutMs: 2_000, everyMs: 1 });
    assert.equal(looks, 3);
  });

  it("says what it waited for, for how long, and what it saw last", async () => {
    await assert.rejects(
      waitUntil("the door is open", () => false, soon),
      { message: "the door is open: not within 0.001 s" },
    );
    let number = 0;
    const look = (): string => `turn ${(number += 1)}`;
    await assert.rejects(waitUntil("the door is open", look, soon), ({ message }: Error) => {
      assert.equal(message, `the door is open: not within 0.001 s. Seen last: turn ${number}`);
      return true;
    });
  });

  it("ends with what was thrown, unless that may be", async () => {
    const cause = new Error("the key broke");
    const look = (): Promise<boolean> => Promise.reject(cause);
    await assert.rejects(waitUntil("the door is open", look, soon), cause);
    await assert.rejects(waitUntil("the door is open", look, { ...soon, mayFail: true }), {
      message: "the door is open: not within 0.001 s. Seen last: Error: the key broke",
      cause,
    });
  });

  it("ends when there is nothing left to wait for", async () => {
    const whyNever = (): string => "it was walled up";
    await assert.rejects(
      waitUntil("The door is not open", () => false, { timeoutMs: 60_000, whyNever }),
      {
        message: "The door is not open: it was walled up",
      },
    );
  });
});

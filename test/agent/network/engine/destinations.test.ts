import assert from "node:assert/strict";
import { createDestinations } from "../../../../agent/network/engine/destinations.ts";
import { compileRules, type EngineFault } from "../../../../agent/network/engine/rules.ts";

const delay = (latencyUs: number): EngineFault => ({ id: "a", networks: ["10.0.0.0/8"], latencyUs, jitterUs: 0, lossPercent: 0 });
const inside = 0x0a000001;
const outside = 0x0b000001;

describe("the destinations", () => {
  it("follow new rules and remember when their last packet is due", () => {
    const destinations = createDestinations(compileRules({ faults: [delay(1000)] }));
    destinations.find(inside).lastDueMs = 77;
    assert.equal(destinations.find(inside).effect?.latencyMs, 1);
    assert.equal(destinations.find(outside).effect, undefined);
    destinations.setRules(compileRules({ faults: [delay(5000)] }));
    assert.deepEqual([destinations.find(inside).effect?.latencyMs, destinations.find(inside).lastDueMs], [5, 77]);
  });

  it("ask the rules once per address", () => {
    let asked = 0;
    const destinations = createDestinations({
      counters: new Map(),
      effectOf: () => {
        asked++;
        return undefined;
      },
    });
    destinations.find(inside);
    destinations.find(inside);
    destinations.find(outside);
    assert.equal(asked, 2);
  });
});

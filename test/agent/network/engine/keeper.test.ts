import assert from "node:assert/strict";
import { createEngineKeeper } from "../../../../agent/network/engine/keeper.ts";
import type { NfqueueEngine } from "../../../../agent/network/engine/supervise.ts";
import { silentLog } from "../../../../common/log.ts";
import { engineRules } from "../../../support/engine-rules.ts";
import { FakeClock, settle } from "../../../support/fake-clock.ts";

/** Engines that write down what they are told, each under its number. */
function setUp() {
  const clock = new FakeClock();
  const told: string[] = [];
  const deaths: ((reason: Error) => void)[] = [];
  const state = { started: 0, isBroken: false, cannotClear: false };
  const start = (): Promise<NfqueueEngine> => {
    if (state.isBroken) return Promise.reject(new Error("NET_RAW is missing"));
    const number = ++state.started;
    const tell = (what: string): Promise<void> => Promise.resolve(void told.push(`${number} ${what}`));
    return Promise.resolve({
      setRules: () => tell("rules"),
      readCounters: () => Promise.resolve(new Map()),
      readTotals: () => assert.fail("nobody asks"),
      clear: () => (state.cannotClear ? Promise.reject(new Error("stuck")) : tell("clear")),
      close: () => tell("close"),
      onDeath: (callback) => void deaths.push(callback),
    });
  };
  const keeper = createEngineKeeper({ start, clock, log: silentLog, rest: { unusedMs: 5_000, usedMs: 60_000 } });
  const died: string[] = [];
  keeper.onDeath((reason) => died.push(reason.message));
  return { clock, told, deaths, state, keeper, died };
}

const rules = engineRules([]);

describe("the keeper of the network engine", () => {
  it("gives the engine that was warmed up its rules, and keeps it for the next ones", async () => {
    const { keeper, told, clock } = setUp();
    keeper.warmUp();
    keeper.warmUp();
    await keeper.setRules(rules);
    await clock.advance(120_000);
    await keeper.setRules(undefined);
    keeper.warmUp();
    await clock.advance(59_000);
    await keeper.setRules(rules);
    assert.deepEqual(told, ["1 rules", "1 clear", "1 rules"]);
  });

  it("closes one that nobody used after 5 s and one without rules any more after a minute, and starts another one then", async () => {
    const { keeper, told, clock } = setUp();
    keeper.warmUp();
    await clock.advance(5_000);
    assert.deepEqual(told, ["1 close"]);
    await keeper.setRules(rules);
    await keeper.setRules(undefined);
    await clock.advance(60_000);
    assert.deepEqual(told, ["1 close", "2 rules", "2 clear", "2 close"]);
  });

  it("tells of a death only where rules are lost with it", async () => {
    const { keeper, deaths, died, told } = setUp();
    keeper.warmUp();
    await settle();
    deaths[0]?.(new Error("for nothing"));
    await keeper.setRules(rules);
    assert.deepEqual([died, told], [[], ["2 rules"]]);
    deaths[1]?.(new Error("in use"));
    assert.deepEqual(died, ["in use"]);
    assert.deepEqual(await keeper.readCounters(), new Map());
    await keeper.setRules(rules);
    assert.deepEqual(told, ["2 rules", "3 rules"]);
  });

  it("tells why none can be started where one is needed, and tries again", async () => {
    const { keeper, state, told } = setUp();
    state.isBroken = true;
    keeper.warmUp();
    await settle();
    await assert.rejects(keeper.setRules(rules), /NET_RAW is missing/);
    state.isBroken = false;
    await keeper.setRules(rules);
    assert.deepEqual(told, ["1 rules"]);
  });

  it("closes one that cannot be cleared", async () => {
    const { keeper, state, told } = setUp();
    await keeper.setRules(rules);
    state.cannotClear = true;
    await keeper.setRules(undefined);
    await keeper.setRules(rules);
    assert.deepEqual(told, ["1 rules", "1 close", "2 rules"]);
  });

  it("ends with its owner, once", async () => {
    const { keeper, told, clock } = setUp();
    keeper.warmUp();
    await keeper.close();
    await keeper.close();
    await clock.advance(60_000);
    assert.deepEqual(told, ["1 close"]);
  });
});

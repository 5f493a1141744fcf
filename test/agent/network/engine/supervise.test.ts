import assert from "node:assert/strict";
import { silentLog } from "../../../../common/log.ts";
import type { Request } from "../../../../agent/network/engine/messages.ts";
import { engineRules } from "../../../support/engine-rules.ts";
import { type NfqueueEngine, superviseEngine } from "../../../../agent/network/engine/supervise.ts";
import type { EngineThread, Reply } from "../../../../agent/network/engine/thread.ts";
import { FakeClock, settle } from "../../../support/fake-clock.ts";

/** A thread that answers pings, and the rest as the test says. */
function fakeThread({ answers = true } = {}) {
  const requests: Request[] = [];
  let reply = (_reply: Reply): void => undefined;
  let end = (_error: Error): void => undefined;
  const state = { answers, isTerminated: false };
  const thread: EngineThread = {
    isPrioritised: true,
    post(request) {
      requests.push(request);
      if (!state.answers) return;
      reply(
        request.order.do === "set-rules" && request.order.rules.rules.length > 0
          ? { is: "failed", number: request.number, message: "wrong" }
          : { is: "done", number: request.number },
      );
      if (request.order.do === "close") end(new Error("ended"));
    },
    onReply: (callback) => {
      reply = callback;
    },
    onEnd: (callback) => {
      end = callback;
    },
    terminate() {
      state.isTerminated = true;
    },
  };
  return { thread, requests, state, crash: (reason: Error) => end(reason) };
}

function supervised(fake: ReturnType<typeof fakeThread>): { engine: NfqueueEngine; clock: FakeClock; deaths: string[] } {
  const clock = new FakeClock();
  const deaths: string[] = [];
  const engine = superviseEngine({ thread: fake.thread, log: silentLog, clock });
  engine.onDeath((reason) => deaths.push(reason.message));
  return { engine, clock, deaths };
}

describe("superviseEngine", () => {
  it("leaves a thread that answers alone", async () => {
    const fake = fakeThread();
    const { clock, deaths } = supervised(fake);
    await clock.advance(60_000);
    assert.deepEqual([deaths, fake.state.isTerminated, fake.requests.length], [[], false, 30]);
  });

  it("ends a thread that has not answered for 6 s, tells it, and refuses what comes later", async () => {
    const fake = fakeThread({ answers: false });
    const { engine, clock, deaths } = supervised(fake);
    const pending = assert.rejects(engine.setRules(engineRules([])), /has not answered for 6 s/);
    await clock.advance(7900);
    assert.deepEqual(deaths, []);
    await clock.advance(200);
    assert.deepEqual(deaths, ["The network engine has not answered for 6 s."]);
    assert.ok(fake.state.isTerminated);
    await pending;
    await assert.rejects(engine.readCounters(), /has not answered/);
  });

  it("does not blame a thread for time during which the whole process was stopped", async () => {
    const fake = fakeThread();
    const { clock, deaths } = supervised(fake);
    clock.freeze(3_600_000);
    await clock.advance(10_000);
    assert.deepEqual(deaths, []);
  });

  it("tells the reason of a crash, also to one who asks afterwards", async () => {
    const fake = fakeThread({ answers: false });
    const { engine, deaths } = supervised(fake);
    const pending = assert.rejects(engine.readTotals(), /broken/);
    fake.crash(new Error("broken"));
    await pending;
    engine.onDeath((reason) => deaths.push(`late: ${reason.message}`));
    assert.deepEqual(deaths, ["broken", "late: broken"]);
  });

  it("hands on what the thread says is wrong with rules", async () => {
    const { engine } = supervised(fakeThread());
    await engine.setRules(engineRules([]));
    await assert.rejects(engine.setRules(engineRules([{ id: "a" }])), { name: "RangeError", message: "wrong" });
  });

  it("closes once, without a death, and leaves no timer", async () => {
    const fake = fakeThread();
    const { engine, clock, deaths } = supervised(fake);
    await Promise.all([engine.close(), engine.close()]);
    assert.deepEqual([deaths, clock.waiting, fake.requests.map(({ order }) => order.do)], [[], 0, ["close"]]);
  });

  it("terminates a thread that does not close within 5 s", async () => {
    const fake = fakeThread({ answers: false });
    const { engine, clock, deaths } = supervised(fake);
    const closed = engine.close();
    await settle();
    await clock.advance(5000);
    await closed;
    assert.deepEqual([deaths, fake.state.isTerminated, clock.waiting], [[], true, 0]);
  });
});

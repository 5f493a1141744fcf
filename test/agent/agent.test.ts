import assert from "node:assert/strict";
import fc from "fast-check";
import { noReceipt } from "../../agent/held-fault.ts";
import { Agent } from "../../agent/agent.ts";
import { createPlannedCarrier } from "../../agent/planned-carrier.ts";
import { createExecutor } from "../../agent/executor.ts";
import type { Journal } from "../../agent/journal.ts";
import type { Command } from "../../agent/plan.ts";
import { recoverLeftovers } from "../../agent/leftovers.ts";
import { silentLog } from "../../common/log.ts";
import { type Fault, FaultState, type Report } from "../../proto/gen/agent.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { createFakeFamily, FakeKernel } from "../support/fake-family.ts";

const UID = "pod-1";

function memoryJournal(leftovers: readonly Command[] = []): Journal & { readonly entries: Command[] } {
  const entries: Command[] = [];
  return {
    entries,
    leftovers,
    add: (undos) => Promise.resolve(void entries.push(...undos)),
    clear: () => Promise.resolve(void entries.splice(0)),
  };
}

function setUp(clock = new FakeClock(), kernel = new FakeKernel(clock), journal = memoryJournal()) {
  const family = createFakeFamily(kernel);
  const sweep = (): Promise<void> => Promise.resolve(kernel.clear());
  // A process that died does nothing any more, whatever timers it had.
  const life = { isOver: false };
  const never = new Promise<never>(() => undefined);
  family.sweep = () => (life.isOver ? never : sweep());
  const programs = { startAhead: () => () => undefined, run: (command: Command) => (life.isOver ? never : kernel.run(command)) };
  const executor = createExecutor({ family, programs, journal, log: silentLog });
  const agent = new Agent({
    targetUid: UID,
    version: "test",
    carrier: createPlannedCarrier({ family, executor, log: silentLog }),
    clock,
    log: silentLog,
  });
  return { clock, kernel, journal, family, agent, life };
}

const fault = (
  id: string,
  { leaseMs = 60_000, remainingMs }: { readonly leaseMs?: number; readonly remainingMs?: number } = {},
): Fault => ({
  id,
  experimentUid: "e",
  experiment: "NetworkChaos/shop/x",
  leaseMs,
  remainingMs,
  family: { $case: "network", value: { rules: [], engine: 0, affectsProbes: false } },
});
const desired = (generation: number, faults: readonly Fault[], leaderEpoch = 1) => ({
  targetUid: UID,
  order: { leaderEpoch, generation },
  faults: [...faults],
});
const states = (report: Report): Readonly<Record<string, number>> => Object.fromEntries(report.faults.map(({ id, state }) => [id, state]));

describe("Agent", () => {
  it("applies what is wanted and takes back what no longer is, each with its last receipt", async () => {
    const { agent, kernel, family } = setUp();
    assert.deepEqual(states(await agent.apply(desired(1, [fault("a"), fault("b")]))), { a: FaultState.ACTIVE, b: FaultState.ACTIVE });
    assert.deepEqual(kernel.inForce, ["a", "b"]);
    family.receipts.set("a", { ...noReceipt, matched: 7, dropped: 7, firstMs: 1, lastMs: 2 });
    const report = await agent.apply(desired(2, [fault("b")]));
    assert.deepEqual(states(report), { a: FaultState.ENDED, b: FaultState.ACTIVE });
    assert.equal(report.faults.find(({ id }) => id === "a")?.receipt?.dropped, 7);
    assert.deepEqual(kernel.inForce, ["b"]);
    await agent.apply(desired(3, []));
    assert.equal(kernel.state.size, 0);
  });

  it("says of a fault that it could not take back that it failed, tries again, and says when it is gone", async () => {
    const { agent, kernel, family, clock } = setUp();
    await agent.apply(desired(1, [fault("a"), fault("b", { remainingMs: 5_000 })]));
    const sweep = family.sweep.bind(family);
    family.sweep = () => Promise.reject(new Error("ipset: set is in use"));
    kernel.failOn = "del";
    const explain = (report: Report): readonly string[] => report.faults.map(({ id, state, reason }) => `${id} ${state} ${reason}`);
    const failed = `${FaultState.FAILED} RecoverFailed`;
    assert.deepEqual(explain(await agent.apply(desired(2, []))), [`a ${failed}`, `b ${failed}`]);
    assert.equal(agent.report().faults[0]?.message, "ipset: set is in use");
    await clock.advance(2_000);
    assert.deepEqual(explain(agent.report()), [`a ${failed}`, `b ${failed}`]);
    // Another set does not make it forgotten.
    assert.deepEqual(explain(await agent.apply(desired(3, []))), [`a ${failed}`, `b ${failed}`]);
    family.sweep = sweep;
    kernel.failOn = undefined;
    await clock.advance(5_000);
    assert.deepEqual(explain(agent.report()), [`a ${FaultState.ENDED} `, `b ${FaultState.ENDED} `]);
    assert.equal(kernel.state.size, 0);
  });

  it("applies nothing any more once it ends", async () => {
    const { agent, kernel } = setUp();
    await agent.apply(desired(1, [fault("a")]));
    const closing = agent.close();
    await assert.rejects(agent.apply(desired(2, [fault("b")])), { kind: "stale" });
    assert.throws(() => agent.heartbeat({ targetUid: UID, leaderEpoch: 1 }), { kind: "stale" });
    await closing;
    assert.equal(kernel.state.size, 0);
  });

  it("changes nothing when an older order comes late, or one for somebody else", async () => {
    const { agent, kernel } = setUp();
    await agent.apply(desired(5, [fault("a")], 2));
    await assert.rejects(agent.apply(desired(4, [], 2)), { kind: "stale" });
    await assert.rejects(agent.apply(desired(9, [], 1)), { kind: "stale" });
    await assert.rejects(agent.apply({ ...desired(6, [], 2), targetUid: "other" }), { kind: "wrong-target" });
    await assert.rejects(agent.apply(desired(6, [fault("a\nb")], 2)), { kind: "invalid" });
    assert.throws(() => agent.heartbeat({ targetUid: UID, leaderEpoch: 1 }), { kind: "stale" });
    assert.deepEqual(kernel.inForce, ["a"]);
  });

  it("lifts a fault when its lease ends, brings it back with the next heartbeat, and counts the interruption", async () => {
    const { agent, kernel, clock } = setUp();
    await agent.apply(desired(1, [fault("a", { leaseMs: 5_000 })]));
    await clock.advance(4_000);
    void agent.heartbeat({ targetUid: UID, leaderEpoch: 1 });
    await clock.advance(4_999);
    assert.deepEqual(kernel.inForce, ["a"]);
    await clock.advance(1);
    assert.deepEqual(kernel.inForce, []);
    assert.equal(kernel.state.size, 0);
    assert.deepEqual(states(agent.report()), { a: FaultState.LEASE_ENDED });
    await clock.advance(3_000);
    void agent.heartbeat({ targetUid: UID, leaderEpoch: 1 });
    await settle();
    assert.deepEqual(kernel.inForce, ["a"]);
    const [report] = agent.report().faults;
    assert.deepEqual([report?.interruptions, report?.interruptedMs], [1, 3_000]);
  });

  it("ends a fault at its deadline, whatever heartbeats say, and whatever the wall clock does", async () => {
    const { agent, kernel, clock } = setUp();
    await agent.apply(desired(1, [fault("a", { remainingMs: 10_000 })]));
    clock.setWallClock("2031-01-01T00:00:00Z");
    await clock.advance(9_999);
    assert.deepEqual(kernel.inForce, ["a"]);
    await clock.advance(1);
    assert.equal(kernel.state.size, 0);
    void agent.heartbeat({ targetUid: UID, leaderEpoch: 1 });
    await settle();
    assert.deepEqual(states(agent.report()), { a: FaultState.ENDED });
    assert.equal(kernel.state.size, 0);
  });

  it("does not move an end that it knows back, whatever a later set or another leader's clock says", async () => {
    const { agent, kernel, clock } = setUp();
    await agent.apply(desired(1, [fault("a", { remainingMs: 10_000 })]));
    await clock.advance(5_000);
    await agent.apply(desired(1, [fault("a", { remainingMs: 300_000 })], 2));
    await clock.advance(4_999);
    assert.deepEqual(kernel.inForce, ["a"]);
    await clock.advance(1);
    assert.deepEqual(states(agent.report()), { a: FaultState.ENDED });
    await agent.apply(desired(2, [fault("a")], 2));
    assert.deepEqual(kernel.inForce, []);
    await agent.apply(desired(3, [], 2));
    await agent.apply(desired(4, [fault("a", { remainingMs: 10_000 })], 2));
    assert.deepEqual(kernel.inForce, ["a"], "one that was taken back in between is a new one");
  });

  it("leaves the end to the kernel's clock while it is frozen", async () => {
    const { agent, kernel, clock } = setUp();
    await agent.apply(desired(1, [fault("a", { leaseMs: 5_000 })]));
    clock.freeze(5_001);
    assert.deepEqual(kernel.inForce, []);
    assert.ok(kernel.state.size > 0, "the fake kernel forgot by itself");
    await clock.advance(0);
    assert.equal(kernel.state.size, 0);
  });

  it("reports a fault that it refuses, and carries the others out", async () => {
    const { agent, kernel } = setUp();
    const report = await agent.apply(desired(1, [fault("bad-1"), fault("a")]));
    assert.deepEqual(states(report), { "bad-1": FaultState.REFUSED, a: FaultState.ACTIVE });
    assert.deepEqual(kernel.inForce, ["a"]);
  });

  it("takes everything back when the kernel refuses, says so, and tries again", async () => {
    const { agent, kernel, clock } = setUp();
    kernel.failOn = "rules";
    const report = await agent.apply(desired(1, [fault("a")]));
    assert.deepEqual(states(report), { a: FaultState.FAILED });
    assert.match(report.faults[0]?.message ?? "", /rules exited with 1/);
    assert.equal(kernel.state.size, 0);
    kernel.failOn = undefined;
    await clock.advance(1_000);
    assert.deepEqual(states(agent.report()), { a: FaultState.ACTIVE });
    assert.deepEqual(kernel.inForce, ["a"]);
  });

  it("applies everything again when its engine dies", async () => {
    const { agent, kernel, family } = setUp();
    await agent.apply(desired(1, [fault("a")]));
    const before = kernel.commands.length;
    family.dieOfEngine(new Error("killed"));
    await settle();
    assert.ok(kernel.commands.length > before);
    assert.deepEqual(kernel.inForce, ["a"]);
  });

  it("has no timer while nothing is wanted, and takes everything back at its end", async () => {
    const { agent, kernel, clock } = setUp();
    assert.equal(clock.waiting, 0);
    await agent.apply(desired(1, [fault("a")]));
    assert.ok(clock.waiting > 0);
    await agent.close();
    assert.deepEqual([kernel.state.size, clock.waiting], [0, 0]);
  });

  it("tells whoever watches of each change", async () => {
    const { agent } = setUp();
    const seen: number[] = [];
    const stop = agent.watch((report) => seen.push(report.faults[0]?.state ?? -1));
    await agent.apply(desired(1, [fault("a", { remainingMs: 60_000 })]));
    await agent.apply(desired(2, []));
    stop();
    await agent.apply(desired(3, [fault("b")]));
    assert.deepEqual(seen, [FaultState.ACTIVE, FaultState.ENDED]);
  });

  it("never has a fault in force beyond lease or deadline, through any mix of orders, heartbeats, failures, stops, crashes and set clocks", async () => {
    const action = fc.oneof(
      fc.record({
        do: fc.constant("apply" as const),
        ids: fc.subarray(["a", "b", "bad"]),
        leaseMs: fc.integer({ min: 1_000, max: 8_000 }),
        remainingMs: fc.option(fc.integer({ min: 0, max: 15_000 }), { nil: undefined }),
      }),
      fc.record({ do: fc.constant("beat" as const) }),
      fc.record({ do: fc.constant("pass" as const), ms: fc.integer({ min: 0, max: 6_000 }) }),
      fc.record({ do: fc.constant("fail" as const), on: fc.constantFrom("sets", "rules", "jump", "clock", undefined) }),
      fc.record({ do: fc.constant("crash" as const) }),
      fc.record({ do: fc.constant("stand still" as const), ms: fc.integer({ min: 0, max: 20_000 }) }),
      fc.record({ do: fc.constant("set the clock" as const), byMs: fc.constantFrom(-288_000, 288_000) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 25 }), async (actions) => {
        const clock = new FakeClock();
        const kernel = new FakeKernel(clock);
        let { agent, journal, life, family } = setUp(clock, kernel);
        let generation = 0;
        /** Until when each fault may have an effect at most, by what the agent was told. */
        let limits = new Map<string, { readonly deadlineMs: number; readonly leaseMs: number; leaseUntilMs: number }>();
        for (const step of actions) {
          switch (step.do) {
            case "apply": {
              const nowMs = clock.monotonicMs();
              limits = new Map(
                step.ids.map((id) => [
                  id,
                  { deadlineMs: nowMs + (step.remainingMs ?? Infinity), leaseMs: step.leaseMs, leaseUntilMs: nowMs + step.leaseMs },
                ]),
              );
              await agent.apply(
                desired(
                  ++generation,
                  step.ids.map((id) =>
                    fault(id, { leaseMs: step.leaseMs, ...(step.remainingMs === undefined ? {} : { remainingMs: step.remainingMs }) }),
                  ),
                ),
              );
              break;
            }
            case "beat":
              for (const limit of limits.values()) limit.leaseUntilMs = clock.monotonicMs() + limit.leaseMs;
              void agent.heartbeat({ targetUid: UID, leaderEpoch: 1 });
              await settle();
              break;
            case "pass":
              await clock.advance(step.ms);
              break;
            case "stand still":
              clock.freeze(step.ms);
              break;
            case "set the clock":
              clock.setWallClock(new Date(clock.now().getTime() + step.byMs).toISOString());
              break;
            case "fail":
              kernel.failOn = step.on;
              break;
            case "crash": {
              kernel.failOn = undefined;
              const leftovers = [...journal.entries];
              life.isOver = true;
              ({ agent, journal, life, family } = setUp(clock, kernel, memoryJournal(leftovers)));
              await recoverLeftovers({ journal, programs: kernel, sweep: () => family.sweep(), log: silentLog });
              assert.equal(kernel.state.size, 0);
              limits = new Map();
            }
          }
          for (const id of kernel.inForce) {
            const limit = limits.get(id);
            assert.ok(
              limit && clock.monotonicMs() < Math.min(limit.deadlineMs, limit.leaseUntilMs),
              `${id} is in force after ${JSON.stringify(step)}`,
            );
          }
        }
        kernel.failOn = undefined;
        await agent.close();
        assert.equal(kernel.state.size, 0);
      }),
      { numRuns: 100 },
    );
  });
});

import assert from "node:assert/strict";
import { silentLog } from "../../../common/log.ts";
import { Sender, type WantedFault } from "../../../controller/agents/sender.ts";
import { FakeAgents } from "../../support/fake-agent.ts";
import { FakeClock, settle } from "../../support/fake-clock.ts";

describe("Sender", () => {
  let clock: FakeClock;
  let agents: FakeAgents;
  let later: (() => void)[];
  let sender: Sender;
  beforeEach(() => {
    clock = new FakeClock();
    agents = new FakeAgents(clock);
    later = [];
    let generation = 0;
    sender = new Sender({
      agent: "a",
      leaderEpoch: 1,
      nextGeneration: () => (generation += 1),
      dial: agents.dial,
      pace: {
        call: (make) => make(),
        later(act) {
          later.push(act);
          return () => void (later = later.filter((other) => other !== act));
        },
      },
      locate: () => ({ uid: "a", uri: "spiffe://a", address: "10.0.0.1" }),
      mustLead: () => undefined,
      clock,
      log: silentLog,
      random: () => 0.5,
      signal: new AbortController().signal,
      onPassport: () => undefined,
      onChange: () => undefined,
    });
    sender.want([fault(6_000)]);
    sender.start();
  });
  afterEach(() => sender.close());

  const fault = (leaseMs: number): WantedFault => ({
    id: "one/.",
    experimentUid: "e",
    experiment: "NetworkChaos/shop/e",
    leaseMs,
    deadlineMs: undefined,
    family: { $case: "network", value: { rules: [], engine: 0, affectsProbes: false } },
  });

  it("opens the stream when its turn comes, and not before the fault is in force", async () => {
    await settle();
    assert.deepEqual([agents.of("a").inForce.length, agents.of("a").openStreams, later.length], [1, 0, 1]);
    later[0]?.();
    await settle();
    assert.equal(agents.of("a").openStreams, 1);
  });

  it("keeps the lease alive although the turn of the stream never comes", async () => {
    for (let second = 0; second < 30; second++) {
      await clock.advance(1_000);
      assert.deepEqual(agents.of("a").inForce, ["one/."]);
    }
    assert.equal(agents.of("a").accepted.length, 1);
  });

  it("sends what is wanted anew before its stream is open", async () => {
    await settle();
    sender.want([fault(9_000)]);
    await settle();
    assert.deepEqual(
      agents.of("a").accepted.map(({ faults }) => faults[0]?.leaseMs),
      [6_000, 9_000],
    );
    assert.equal(later.length, 1, "it waits for one turn");
    sender.want([]);
    await settle();
    assert.deepEqual([agents.of("a").faults.length, later.length], [0, 0]);
    assert.equal(sender.isIdle, true);
  });
});

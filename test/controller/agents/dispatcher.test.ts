import assert from "node:assert/strict";
import { silentLog } from "../../../common/log.ts";
import { Dispatcher, type Owner, type Wish } from "../../../controller/agents/dispatcher.ts";
import type { WantedFault, Whereabouts } from "../../../controller/agents/sender.ts";
import { FakeAgents } from "../../support/fake-agent.ts";
import { emptyPassport } from "../../support/fake-family.ts";
import { FakeClock, settle } from "../../support/fake-clock.ts";

const owner = (uid: string): Owner => ({ uid, key: `NetworkChaos/shop/${uid}` });
const fault = (id: string, own: Partial<WantedFault> = {}): WantedFault => ({
  id,
  experimentUid: "e",
  experiment: "NetworkChaos/shop/e",
  leaseMs: 60_000,
  deadlineMs: undefined,
  family: { $case: "network", value: { rules: [], engine: 0, affectsProbes: false } },
  ...own,
});
const wish = (agent: string, id: string, own: Partial<WantedFault> | null = {}): Wish => ({
  agent,
  faultId: id,
  fault: own === null ? undefined : fault(id, own),
});

describe("Dispatcher and its senders", () => {
  let clock: FakeClock;
  let agents: FakeAgents;
  let dispatcher: Dispatcher;
  let end: AbortController;
  let changed: string[];
  let waits: number[];
  let passports: string[];
  let whereabouts: (uid: string) => Whereabouts;

  beforeEach(() => {
    clock = new FakeClock();
    agents = new FakeAgents(clock);
    changed = [];
    waits = [];
    passports = [];
    whereabouts = (uid) => ({ uid, uri: `spiffe://${uid}`, address: "10.0.0.1" });
    lead(3);
  });
  afterEach(async () => {
    end.abort();
    await dispatcher.close();
  });

  function lead(leaderEpoch: number): void {
    end = new AbortController();
    dispatcher = new Dispatcher({
      leaderEpoch,
      dial: agents.dial,
      locate: (uid) => whereabouts(uid),
      clock,
      log: silentLog,
      random: () => 0.5,
      signal: end.signal,
      mustLead: () => undefined,
      onPassport: (uid, { devices }) => passports.push(`${uid} ${devices.join(",")}`),
      onChange({ uid }, withinMs) {
        changed.push(uid);
        waits.push(withinMs);
      },
    });
  }
  const sent = (uid: string): readonly (readonly string[])[] => agents.of(uid).accepted.map(({ faults }) => faults.map(({ id }) => id));

  it("passes on what agents say of their surroundings", async () => {
    agents.of("a").passport = { ...emptyPassport, devices: ["eth0", "net1"] };
    dispatcher.open();
    dispatcher.wish(owner("one"), [wish("a", "one/.")]);
    await settle();
    assert.deepEqual([...new Set(passports)], ["a eth0,net1"]);
  });

  it("sends nothing before it is open, and then each pod's complete set at once", async () => {
    dispatcher.wish(owner("one"), [wish("a", "one/."), wish("b", "one/.")]);
    dispatcher.wish(owner("two"), [wish("a", "two/.")]);
    await clock.advance(10_000);
    assert.deepEqual(agents.dialled, []);
    dispatcher.open();
    await settle();
    assert.deepEqual([sent("a"), sent("b")], [[["one/.", "two/."]], [["one/."]]]);
  });

  it("never sends an empty set before the first fault of a new pod", async () => {
    dispatcher.open();
    dispatcher.wish(owner("one"), [wish("a", "one/.")]);
    await settle();
    assert.deepEqual(sent("a"), [["one/."]]);
  });

  it("asks an agent to confirm that nothing is left where only that is wished for", async () => {
    dispatcher.open();
    dispatcher.wish(owner("one"), [wish("a", "one/.", null)]);
    await settle();
    assert.deepEqual(sent("a"), [[]]);
    assert.deepEqual(changed, ["one"]);
  });

  it("sends once for what does not change, and again for what does", async () => {
    dispatcher.open();
    for (let index = 0; index < 5; index++) dispatcher.wish(owner("one"), [wish("a", "one/.")]);
    await settle();
    dispatcher.wish(owner("one"), [wish("a", "one/.", { leaseMs: 5_000 })]);
    await settle();
    dispatcher.forget("one");
    await settle();
    assert.deepEqual(sent("a"), [["one/."], ["one/."], []]);
    assert.equal(dispatcher.size, 0);
  });

  it("renews leases three times in the shortest of them", async () => {
    dispatcher.open();
    dispatcher.wish(owner("one"), [wish("a", "one/.", { leaseMs: 6_000 }), wish("a", "long/.", { leaseMs: 60_000 })]);
    for (let second = 0; second < 120; second++) {
      await clock.advance(1_000);
      assert.deepEqual(agents.of("a").inForce, ["long/.", "one/."]);
    }
    assert.equal(sent("a").length, 1);
    assert.equal(agents.of("a").openStreams, 1);
  });

  it("applies again to an agent that restarted, and tells that it was gone meanwhile", async () => {
    dispatcher.open();
    dispatcher.wish(owner("one"), [wish("a", "one/.")]);
    await settle();
    agents.of("a").isReachable = false;
    await clock.advance(3_000);
    assert.equal(dispatcher.view("a")?.contact.is, "lost");
    agents.of("a").restart();
    agents.of("a").isReachable = true;
    await clock.advance(6_000);
    assert.equal(dispatcher.view("a")?.contact.is, "up");
    assert.deepEqual(agents.of("a").inForce, ["one/."]);
  });

  it("waits longer after each attempt that fails, and not at all after one that succeeds", async () => {
    agents.of("a").isReachable = false;
    dispatcher.open();
    dispatcher.wish(owner("one"), [wish("a", "one/.")]);
    await clock.advance(60_000);
    const attempts = agents.dialled.length;
    assert.ok(attempts >= 12 && attempts <= 30, `${attempts} attempts in a minute`);
    agents.of("a").isReachable = true;
    await clock.advance(5_000);
    assert.deepEqual(agents.of("a").inForce, ["one/."]);
  });

  it("lets what was sent later win, also over a leader before it", async () => {
    dispatcher.open();
    dispatcher.wish(owner("one"), [wish("a", "one/.")]);
    await settle();
    const old = agents.of("a").accepted[0] ?? assert.fail();
    end.abort();
    await dispatcher.close();
    lead(4);
    dispatcher.open();
    dispatcher.wish(owner("two"), [wish("a", "two/.")]);
    await settle();
    assert.throws(() => agents.of("a").apply({ ...old, order: { leaderEpoch: 3, generation: 9_999 } }), /stale/);
    assert.deepEqual(agents.of("a").inForce, ["two/."]);
  });

  it("is not refused as old where it begins anew within a leadership", async () => {
    dispatcher.open();
    dispatcher.wish(owner("one"), [wish("a", "one/.")]);
    dispatcher.wish(owner("two"), [wish("a", "two/.")]);
    await clock.advance(1_000);
    await dispatcher.close();
    lead(3);
    dispatcher.wish(owner("one"), []);
    dispatcher.wish(owner("two"), [wish("a", "two/.")]);
    dispatcher.open();
    await clock.advance(1_000);
    assert.deepEqual(sent("a").at(-1), ["two/."]);
  });

  it("keeps leases while thousands of calls wait for agents that do not answer", async () => {
    dispatcher.open();
    dispatcher.wish(owner("one"), [wish("held", "one/.", { leaseMs: 5_000 })]);
    await clock.advance(100);
    const silent = Array.from({ length: 3_000 }, (_, index) => `silent-${index}`);
    const { promise, resolve } = Promise.withResolvers<void>();
    for (const uid of silent) agents.of(uid).until = promise;
    dispatcher.wish(
      owner("two"),
      [...silent, "held"].map((uid) => wish(uid, "two/.")),
    );
    const before = agents.of("held").accepted.length;
    await clock.advance(1_000);
    assert.ok(agents.of("held").accepted.length > before, "the agent that answers has the new set");
    resolve();
  });

  it("says nothing any more once its leadership is over", async () => {
    dispatcher.open();
    dispatcher.wish(owner("one"), [wish("a", "one/.", { leaseMs: 3_000 })]);
    await settle();
    end.abort();
    const { length } = agents.of("a").accepted;
    dispatcher.wish(owner("one"), [wish("a", "one/."), wish("a", "more/.")]);
    await clock.advance(10_000);
    assert.equal(agents.of("a").accepted.length, length);
    assert.deepEqual(agents.of("a").inForce, [], "a lease was renewed by nobody");
    assert.equal(dispatcher.desiredFor("a"), undefined);
  });

  it("leaves out what is over, and tells what is left of the rest", async () => {
    dispatcher.open();
    const nowMs = clock.monotonicMs();
    dispatcher.wish(owner("one"), [wish("a", "over/.", { deadlineMs: nowMs }), wish("a", "soon/.", { deadlineMs: nowMs + 1_500 })]);
    await settle();
    assert.deepEqual(
      agents.of("a").faults.map(({ id, remainingMs }) => [id, remainingMs]),
      [["soon/.", 1_500]],
    );
  });

  it("gives an agent that enrols what applies to it, in an order that a later set outranks", async () => {
    dispatcher.open();
    assert.deepEqual(dispatcher.desiredFor("new")?.faults, []);
    const { promise, resolve } = Promise.withResolvers<void>();
    agents.of("a").until = promise;
    dispatcher.wish(owner("one"), [wish("a", "one/.")]);
    const enrolled = dispatcher.desiredFor("a");
    assert.deepEqual(
      enrolled?.faults.map(({ id }) => id),
      ["one/."],
    );
    dispatcher.wish(owner("one"), [wish("a", "two/.")]);
    assert.ok((dispatcher.desiredFor("a")?.order?.generation ?? 0) > (enrolled?.order?.generation ?? 0));
    resolve();
    await settle();
    assert.deepEqual(agents.of("a").inForce, ["two/."]);
  });

  it("lets news of one of very many pods wait for more, and not that of the last one", async () => {
    const uids = Array.from({ length: 1_000 }, (_, index) => `pod-${index}`);
    const { promise, resolve } = Promise.withResolvers<void>();
    agents.of("pod-7").until = promise;
    dispatcher.open();
    dispatcher.wish(
      owner("one"),
      uids.map((uid) => wish(uid, "one/.")),
    );
    // a thousand calls that have their turn in a few rounds
    for (let round = 0; round < 20; round++) await settle();
    assert.equal(waits.length, 2 * 999, "each answered, and told once more on its stream");
    assert.deepEqual([...new Set(waits)], [200]);
    waits = [];
    resolve();
    await settle();
    assert.deepEqual(waits.slice(0, 1), [0]);
    waits = [];
    agents.of("pod-8").notify();
    await settle();
    assert.deepEqual(waits, [200]);
  });

  it("has something in force on very many pods although some do not answer", async () => {
    const uids = Array.from({ length: 500 }, (_, index) => `pod-${index}`);
    const { promise, resolve } = Promise.withResolvers<void>();
    for (const uid of uids.slice(0, 150)) agents.of(uid).until = promise;
    dispatcher.open();
    dispatcher.wish(
      owner("one"),
      uids.map((uid) => wish(uid, "one/.")),
    );
    await clock.advance(1_000);
    for (let round = 0; round < 10; round++) await settle();
    assert.equal(uids.filter((uid) => agents.of(uid).inForce.length === 1).length, 350);
    resolve();
  });

  it("forgets a pod that is gone", async () => {
    dispatcher.open();
    dispatcher.wish(owner("one"), [wish("a", "one/.")]);
    await settle();
    dispatcher.drop("a");
    assert.equal(dispatcher.view("a"), undefined);
    assert.equal(dispatcher.size, 0);
    await settle();
    assert.equal(agents.of("a").openStreams, 0);
  });
});

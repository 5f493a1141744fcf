import assert from "node:assert/strict";
import { silentLog } from "../../common/log.ts";
import { KubeError } from "../../kube/errors.ts";
import { LeaderElector, type Leadership, microTime } from "../../kube/lease.ts";
import { leases } from "../../kube/resources.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { FakeKube } from "../support/fake-kube.ts";

const ref = { namespace: "squall-system", name: "squall-controller" };

describe("LeaderElector", () => {
  const open: LeaderElector[] = [];
  let clock: FakeClock;
  let kube: FakeKube;

  beforeEach(() => {
    clock = new FakeClock();
    kube = new FakeKube({ now: () => clock.now() });
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((elector) => elector.close()));
  });

  function start(identity: string, through = kube): LeaderElector {
    const elector = new LeaderElector({ kube: through, clock, log: silentLog, ref, identity, random: () => 0 });
    open.push(elector);
    elector.start();
    return elector;
  }

  it("makes the lease and leads at once where there is none", async () => {
    const elector = start("a");
    await settle();
    const epoch = (Date.UTC(2026, 0, 1) - Date.UTC(2020, 0, 1)) / 1000;
    assert.equal(elector.leadership?.epoch, epoch);
    const spec = (await kube.get(leases, ref)).spec;
    assert.deepEqual(spec, {
      holderIdentity: "a",
      leaseDurationSeconds: 15,
      acquireTime: "2026-01-01T00:00:00.000000Z",
      renewTime: "2026-01-01T00:00:00.000000Z",
      leaseTransitions: epoch,
    });
  });

  it("makes no lease where it may not, and takes one that is there", async () => {
    const elector = new LeaderElector({ kube, clock, log: silentLog, ref, identity: "a", random: () => 0, mayCreate: () => false });
    open.push(elector);
    elector.start();
    await clock.advance(10_000);
    assert.ok(elector.leadership === undefined);
    kube.seed(leases, { metadata: ref, spec: { leaseTransitions: 7, holderIdentity: "" } });
    await clock.advance(10_000);
    assert.deepEqual((await kube.get(leases, ref)).spec.leaseTransitions, 8);
  });

  it("goes on leading while renewals succeed, with one write every two seconds", async () => {
    const elector = start("a");
    await clock.advance(60_000);
    assert.notEqual(elector.leadership?.epoch, undefined);
    assert.equal(kube.requests.filter(({ verb }) => verb === "patch").length, 30);
  });

  it("lets one of two lead, and the other one within the duration after the first is gone", async () => {
    const first = start("a");
    await settle();
    const second = start("b");
    await clock.advance(30_000);
    assert.equal(second.leadership?.epoch, undefined);
    assert.equal(second.holder, "a");
    const epoch = first.leadership?.epoch ?? 0;
    kube.fail({ verb: "patch", name: ref.name, times: 6, error: new KubeError("unavailable", "cut off") });
    await clock.advance(10_000);
    assert.equal(first.leadership?.epoch, undefined);
    assert.equal(second.leadership?.epoch, undefined, "not before the lease ended");
    await clock.advance(8_000);
    const leaders = [first, second].filter(({ leadership }) => leadership !== undefined);
    assert.deepEqual(
      leaders.map(({ leadership }) => leadership?.epoch),
      [epoch + 1],
    );
  });

  it("loses the leadership by its own clock before anybody else may lead", async () => {
    const elector = start("a");
    await settle();
    const seen: (Leadership | undefined)[] = [];
    elector.onChange((leadership) => seen.push(leadership));
    const signal = elector.leadership?.signal;
    kube.fail({ verb: "patch", times: 100, error: new KubeError("unavailable", "down") });
    await clock.advance(9_999);
    assert.notEqual(elector.leadership?.epoch, undefined);
    await clock.advance(1);
    assert.equal(elector.leadership?.epoch, undefined);
    assert.equal(signal?.aborted, true);
    assert.deepEqual(
      seen.map((leadership) => leadership?.epoch),
      [undefined],
    );
  });

  it("knows after a freeze that it leads no longer, although no timer fired", async () => {
    const elector = start("a");
    await settle();
    assert.notEqual(elector.leadership?.epoch, undefined);
    clock.freeze(10_000);
    assert.equal(elector.leadership?.epoch, undefined);
  });

  it("stops when somebody else holds the lease", async () => {
    const elector = start("a");
    await settle();
    await kube.patch(leases, ref, { spec: { holderIdentity: "b", leaseTransitions: 7 } }, { type: "merge" });
    await clock.advance(2_000);
    assert.equal(elector.leadership?.epoch, undefined);
  });

  it("goes on when the answer to a renewal got lost", async () => {
    const elector = start("a");
    await settle();
    kube.fail({ verb: "patch", when: "after", error: new KubeError("timeout", "lost") });
    await clock.advance(30_000);
    assert.notEqual(elector.leadership?.epoch, undefined);
  });

  it("never counts an epoch twice, not even for the same process", async () => {
    const elector = start("a");
    await settle();
    const first = elector.leadership?.epoch ?? 0;
    kube.fail({ verb: "patch", times: 6, error: new KubeError("unavailable", "down") });
    await clock.advance(40_000);
    assert.equal(elector.leadership?.epoch, first + 1);
  });

  it("goes on above the old epochs when the lease was deleted", async () => {
    const elector = start("a");
    await settle();
    const first = elector.leadership?.epoch ?? 0;
    kube.remove(leases, ref);
    await clock.advance(30_000);
    assert.ok((elector.leadership?.epoch ?? 0) > first);
  });

  it("gives the lease back on close, so that the next one need not wait", async () => {
    const first = start("a");
    await settle();
    const epoch = first.leadership?.epoch ?? 0;
    await first.close();
    assert.equal((await kube.get(leases, ref)).spec.holderIdentity, "");
    const second = start("b");
    await settle();
    assert.equal(second.leadership?.epoch, epoch + 1);
  });

  it("survives an API server that does not answer at all", async () => {
    kube.fail({ verb: "get", times: 1, until: new Promise(() => undefined) });
    const elector = start("a");
    await clock.advance(20_000);
    assert.notEqual(elector.leadership?.epoch, undefined);
  });

  it("lets only one of two win the race for a free lease", async () => {
    const both = [start("a"), start("b")];
    await clock.advance(100);
    assert.equal(both.filter(({ leadership }) => leadership !== undefined).length, 1);
  });
});

describe("microTime", () => {
  it("has six fraction digits", () => {
    assert.equal(microTime(new Date(Date.UTC(2026, 0, 2, 3, 4, 5, 6))), "2026-01-02T03:04:05.006000Z");
  });
});

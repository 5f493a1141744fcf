import assert from "node:assert/strict";
import { type Fault, FaultState } from "../../proto/gen/agent.ts";
import { Direction, type NetworkRule } from "../../proto/gen/faults.ts";
import { networkFault, networks as peers, rule as anyRule, shape } from "../support/network-faults.ts";
import { type AgentHandle, createTwoHosts, RIGHT, type TwoHosts } from "./support/two-hosts.ts";

const rule = (
  direction: Direction,
  effect: NetworkRule["effect"],
  networks: readonly string[] | undefined = [`${RIGHT}/32`],
): NetworkRule => anyRule({ direction, effect, peers: networks && peers(...networks) });
const drop: NetworkRule["effect"] = { $case: "partition", value: {} };
const slow = (ms: number): NetworkRule["effect"] => shape({ latencyUs: ms * 1000 });
const fault = (id: string, leaseMs: number, ...rules: readonly NetworkRule[]): Fault => networkFault(id, rules, { leaseMs });

describe("an agent on the real kernel", () => {
  let hosts: TwoHosts;
  let agent: AgentHandle;
  let before: string;
  beforeEach(async () => {
    hosts = await createTwoHosts();
    agent = await hosts.startAgent();
    before = await agent.residue();
  });
  afterEach(() => hosts.close());

  /** Median way of some datagrams to the right side, or why none came. */
  async function reach(): Promise<number | "error at the sender" | "lost"> {
    const { port = 0 } = await hosts.right.traffic({ do: "listen-udp" });
    await hosts.right.traffic({ do: "take-arrivals" });
    const { errors = [] } = await hosts.left.traffic({
      do: "send-udp",
      to: RIGHT,
      port,
      count: 5,
      bytes: 100,
      gapMs: 20,
      burst: 1,
      sockets: 1,
    });
    if (errors.length > 0) return "error at the sender";
    await new Promise((resolve) => setTimeout(resolve, 500));
    const { arrivals = [] } = await hosts.right.traffic({ do: "take-arrivals" });
    return arrivals.map(({ delayMs }) => delayMs).toSorted((a, b) => a - b)[arrivals.length >> 1] ?? "lost";
  }

  it("cuts and mends, with an error at the sender, four programs at most, and nothing left", async () => {
    const { changes, faults } = await agent.apply([fault("a", 60_000, rule(Direction.EGRESS, drop), rule(Direction.INGRESS, drop))]);
    const programs = changes.filter(({ what }) => !/^(engine|journal)/.test(what));
    assert.ok(programs.length <= 4, JSON.stringify(programs));
    assert.equal(faults[0]?.state, FaultState.ACTIVE);
    assert.equal(await reach(), "error at the sender");
    const { faults: ended } = await agent.apply([]);
    assert.ok((ended[0]?.receipt?.dropped ?? 0) >= 5);
    assert.ok(Number(await reach()) < 20);
    assert.equal(await agent.residue(), before);
  });

  it("adds two delays up, and takes one of them back", async () => {
    await agent.apply([
      fault("a", 60_000, rule(Direction.EGRESS, slow(60))),
      fault("b", 60_000, rule(Direction.EGRESS, slow(40), undefined)),
    ]);
    const both = Number(await reach());
    assert.ok(both > 99 && both < 115, String(both));
    await agent.apply([fault("b", 60_000, rule(Direction.EGRESS, slow(40), undefined))]);
    const one = Number(await reach());
    assert.ok(one > 39 && one < 55, String(one));
    await agent.apply([]);
    assert.equal(await agent.residue(), before);
  });

  it("goes from a fault that spares no probe to one that does, with nothing of the first one left", async () => {
    const cut = fault("a", 60_000, rule(Direction.EGRESS, drop));
    await agent.apply([networkFault("a", [rule(Direction.EGRESS, drop)], { leaseMs: 60_000, affectsProbes: true })]);
    assert.match(await hosts.left.run("iptables-save"), /^:squall-out-probe/m);
    const { faults } = await agent.apply([cut]);
    assert.deepEqual([faults[0]?.state, faults[0]?.message], [FaultState.ACTIVE, ""]);
    assert.doesNotMatch(await hosts.left.run("iptables-save"), /probe/);
    await agent.apply([]);
    assert.equal(await agent.residue(), before);
  });

  it("ends by the kernel's clock with no process alive, and the next life sweeps", async () => {
    await agent.apply([fault("a", 2_000, rule(Direction.EGRESS, drop))]);
    agent.process.kill("SIGKILL");
    assert.equal(await reach(), "error at the sender");
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    assert.ok(Number(await reach()) < 20);
    const next = await hosts.startAgent();
    assert.equal(await next.residue(), before);
  });

  it("cuts off and slows 5,000 external targets, each of them and nobody else, within seconds", async () => {
    // none of them is the right side, which has only the last address of each list
    const others = (count: number): readonly string[] => [
      ...Array.from({ length: count / 2 }, (_, index) => `198.18.${index >> 8}.${index & 255}/32`),
      ...Array.from({ length: count / 2 }, (_, index) => `2001:db8::${index.toString(16)}/128`),
    ];
    const many = [...others(5_000).slice(1), `${RIGHT}/32`];
    for (const [effect, isSeen] of [
      [drop, (reached: unknown) => reached === "error at the sender"],
      [slow(80), (reached: unknown) => Number(reached) > 79 && Number(reached) < 120],
    ] as const) {
      const begun = performance.now();
      const { faults } = await agent.apply([fault("many", 60_000, rule(Direction.EGRESS, effect, many))]);
      const applyMs = performance.now() - begun;
      assert.deepEqual([faults[0]?.state, faults[0]?.message], [FaultState.ACTIVE, ""]);
      assert.equal((await hosts.left.run("ipset", "save")).match(/^add squall-p-/gm)?.length, 5_000);
      const reached = await reach();
      assert.ok(isSeen(reached), String(reached));
      // the same without the right side: another set, and the fault no longer meets it
      await agent.apply([fault("many", 60_000, rule(Direction.EGRESS, effect, others(5_000)))]);
      assert.ok(Number(await reach()) < 20);
      const recovering = performance.now();
      await agent.apply([]);
      const recoverMs = performance.now() - recovering;
      assert.equal(await agent.residue(), before);
      console.log(`      applied in ${applyMs.toFixed(0)} ms, taken back in ${recoverMs.toFixed(0)} ms`);
      assert.ok(applyMs < 5_000 && recoverMs < 5_000);
    }
  });

  it("refuses what is hostile and does the rest", async () => {
    const { faults } = await agent.apply([
      fault("bad", 60_000, rule(Direction.EGRESS, drop, ["; reboot"])),
      fault("good", 60_000, rule(Direction.EGRESS, drop)),
    ]);
    assert.deepEqual(faults.map(({ id, state, reason }) => `${id} ${state} ${reason}`).toSorted(), [
      `bad ${FaultState.REFUSED} InvalidPeers`,
      `good ${FaultState.ACTIVE} `,
    ]);
  });
});

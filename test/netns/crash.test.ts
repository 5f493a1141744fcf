import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { type Fault, FaultState } from "../../proto/gen/agent.ts";
import { choosePoints } from "../support/seeded.ts";
import type { Change, Stop } from "./support/agent-process.ts";
import { another, crashCases, directionsOf, type Probe, startProbe } from "./support/crash-cases.ts";
import { type AgentHandle, createTwoHosts, type TwoHosts } from "./support/two-hosts.ts";

/**
 * The crash matrix of the agent. A clean run of each action, in each direction and both families of addresses, records every change of the kernel
 * and of the journal: while the fault is applied, kept alive, joined by another, left by it, and taken back; while the pod ends, and while the next
 * life of an agent starts. Then the agent is killed right before, within and right after each of them, and frozen before and after each. `npm test`
 * tries some of these points, other ones each day; `npm run test:crash` all of them.
 */

/** What an agent is told in its life, one after the other. */
type Deed = (agent: AgentHandle, faults: readonly Fault[]) => Promise<readonly Change[]>;
const withLease = (leaseMs: number, ...faults: readonly Fault[]): readonly Fault[] => faults.map((fault) => ({ ...fault, leaseMs }));
const leaseOf = ([fault]: readonly Fault[]): number => fault?.leaseMs ?? assert.fail();
const deeds = {
  apply: async (agent, faults) => (await agent.apply(faults)).changes,
  beat: (agent) => agent.beat(),
  join: async (agent, faults) => (await agent.apply([...faults, ...withLease(leaseOf(faults), another)])).changes,
  leave: async (agent, faults) => (await agent.apply(faults)).changes,
  recover: async (agent) => (await agent.apply([])).changes,
  close: (agent) => agent.close(),
} satisfies Readonly<Record<string, Deed>>;
const lives = {
  "in use": ["apply", "beat", "join", "leave", "recover"],
  "at its end": ["apply", "close"],
  /** After a life that was cut off with faults in force; its changes are those of the start. */
  "at its start": [],
} as const satisfies Readonly<Record<string, readonly (keyof typeof deeds)[]>>;
/** Ends and starts are alike for all actions: one for each engine, and one without. */
const withEnds: ReadonlySet<string> = new Set(["partition both", "delay to", "netem both"]);

interface Point {
  readonly name: string;
  readonly life: keyof typeof lives;
  readonly change: number;
  readonly when: Stop["when"];
  readonly what: string;
}

/** Two hosts with a probe and, between two points, an agent that has nothing to do. */
interface Lane {
  readonly hosts: TwoHosts;
  readonly probe: Probe;
  readonly clean: string;
  agent: AgentHandle;
}

const LANES = 4;
const MOST_FAILURES = 5;
const PROGRESS_EVERY = 200;
const LEASE_MS = 1_000;
/** ipset counts whole seconds, and each step of its clock may take one more. */
const LEASE_OVER_MS = 2_200;

describe("an agent that is stopped at any change it makes", () => {
  let lanes: readonly Lane[] = [];
  const recorded: Point[] = [];

  before(async function () {
    this.timeout(120_000);
    lanes = await Promise.all(Array.from({ length: LANES }, openLane));
  });
  after(() => Promise.all(lanes.map(({ hosts }) => hosts.close())));

  async function openLane(): Promise<Lane> {
    const hosts = await createTwoHosts();
    const probe = await startProbe(hosts);
    const agent = await hosts.startAgent();
    await probe.sees();
    return { hosts, probe, agent, clean: await agent.residue() };
  }

  /** Does the work, some of it at a time, and fails at its end with what failed and at which part of it. */
  async function spread<W>(work: readonly W[], act: (lane: Lane, one: W) => Promise<void>): Promise<void> {
    assert.ok(work.length > 0);
    const left = [...work];
    const failures: string[] = [];
    await Promise.all(
      lanes.map(async (lane) => {
        for (let one = left.shift(); one !== undefined && failures.length < MOST_FAILURES; one = left.shift()) {
          if (left.length > 0 && left.length % PROGRESS_EVERY === 0) console.log(`    ${left.length} to go`);
          try {
            await act(lane, one);
          } catch (error) {
            failures.push(`${JSON.stringify(one)}: ${error instanceof Error ? error.message : String(error)}`);
            await lane.agent.end();
            lane.agent = await lane.hosts.startAgent();
          }
        }
      }),
    );
    assert.equal(failures.length, 0, failures.join("\n"));
  }

  const faultsOf = (name: string, leaseMs = 60_000): readonly Fault[] => withLease(leaseMs, ...(crashCases[name] ?? assert.fail(name)));

  /** Ends an agent's life with these faults in force, and starts the next one, perhaps to stop at one of its changes. */
  async function startAfterCrash({ hosts, agent }: Lane, faults: readonly Fault[], stop?: Stop): Promise<AgentHandle> {
    await agent.apply(faults);
    await agent.end();
    return hosts.startAgent({ stop });
  }

  it("has a clean life, in which a probe sees each fault while it is in force and no longer", async function () {
    this.timeout(300_000);
    const inOrder = new Map<string, readonly Point[]>();
    await spread(Object.keys(crashCases), async (lane, name) => {
      const points: Point[] = [];
      const note = (life: Point["life"], changes: readonly Change[], offset: number): void => {
        for (const [index, { what, canBeHalf }] of changes.entries())
          for (const when of ["before", "within", "after"] as const)
            if (when !== "within" || canBeHalf) points.push({ name, life, change: offset + index + 1, when, what });
      };
      const faults = faultsOf(name);
      for (const [life, orders] of Object.entries(lives)) {
        if (life !== "in use" && !withEnds.has(name)) continue;
        let count = 0;
        if (life === "at its start") {
          lane.agent = await startAfterCrash(lane, faults);
          note(life, lane.agent.changes, 0);
        }
        for (const order of orders) {
          const changes = await deeds[order](lane.agent, faults);
          note(life as Point["life"], changes, count);
          count += changes.length;
          if (order !== "apply") continue;
          const [report] = await lane.agent.report();
          assert.deepEqual([report?.state, report?.message], [FaultState.ACTIVE, ""]);
          await lane.probe.sees(...directionsOf(name));
        }
        await sleep(100); // what was held leaves
        await lane.probe.sees();
        if (life === "at its end") {
          await lane.agent.end();
          lane.agent = await lane.hosts.startAgent();
        }
        assert.equal(await lane.agent.residue(), lane.clean);
      }
      inOrder.set(name, points);
    });
    for (const name of Object.keys(crashCases)) recorded.push(...(inOrder.get(name) ?? []));
    assert.ok(recorded.length > 1_000, `only ${recorded.length} points`);
  });

  it("leaves nothing that its next life does not remove when it is killed there", async function () {
    this.timeout(6 * 3_600_000);
    const { chosen, recipe } = choosePoints(recorded, { short: 32 });
    await spread(chosen, async (lane, { name, life, change, when }) => {
      const stop: Stop = { change, when, signal: "SIGKILL" };
      const dead = (async () => {
        if (life === "at its start") return startAfterCrash(lane, faultsOf(name), stop);
        await lane.agent.stopAt(stop);
        for (const order of lives[life]) await deeds[order](lane.agent, faultsOf(name));
        return assert.fail("it lived on");
      })();
      await assert.rejects(dead, /agent-process.ts ended/);
      lane.agent = await lane.hosts.startAgent();
      assert.equal(await lane.agent.residue(), lane.clean);
      await lane.probe.sees();
    });
    console.log(`    ${chosen.length} of ${recorded.length} points, nothing left (${recipe})`);
  });

  it("has its faults ended by the kernel when it is frozen there for longer than a lease, and is true and clean when it goes on", async function () {
    this.timeout(6 * 3_600_000);
    const points = recorded.filter(({ when, life }) => when !== "within" && life !== "at its start");
    const { chosen, recipe } = choosePoints(points, { short: 12 });
    await spread(chosen, async (lane, { name, life, change, when }) => {
      const { agent, probe } = lane;
      await agent.stopAt({ change, when, signal: "SIGSTOP" });
      const frozen = agent.frozen();
      const living = (async () => {
        for (const order of lives[life]) {
          const ends = deeds[order](agent, faultsOf(name, LEASE_MS));
          if ((await Promise.race([frozen.then(() => "frozen" as const), ends.then(() => "done" as const)])) === "frozen") return { ends };
        }
        return assert.fail("it was not frozen");
      })();
      const { ends } = await living;
      try {
        await sleep(LEASE_OVER_MS);
        await probe.sees();
      } finally {
        agent.process.kill("SIGCONT");
      }
      await ends;
      assert.deepEqual(
        (await agent.report()).filter(({ state }) => state === FaultState.ACTIVE),
        [],
        "a fault is said to be in force whose lease is over",
      );
      if (life === "at its end") {
        await agent.end();
        lane.agent = await lane.hosts.startAgent();
      }
      assert.equal(await lane.agent.residue(), lane.clean);
      await probe.sees();
    });
    console.log(`    ${chosen.length} of ${points.length} points, nothing left (${recipe})`);
  });
});

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { Fault } from "../../proto/gen/agent.ts";
import { Direction } from "../../proto/gen/faults.ts";
import { networkFault, networks, rule, shape } from "../support/network-faults.ts";
import { type AgentHandle, createTwoHosts, RIGHT, RIGHT6, type TwoHosts } from "./support/two-hosts.ts";

/**
 * The crash matrix of the agent: a clean run tells how many programs apply, change and recovery of each action start; then the agent is killed
 * right before and right after each of them. Whatever it left, the next life must remove, to the byte. `npm test` tries some of these points,
 * another set each day of the year; `npm run test:crash` all of them.
 */
const peers = networks(`${RIGHT}/32`, `${RIGHT6}/128`);
const shaped = (own: Parameters<typeof shape>[0]): readonly Fault[] => [networkFault("uid/.", [rule({ peers, effect: shape(own) })])];
const cases: Readonly<Record<string, readonly Fault[]>> = {
  partition: [networkFault("uid/.", [rule({ peers }), rule({ peers, direction: Direction.INGRESS })])],
  delay: shaped({ latencyUs: 50_000, jitterUs: 5_000 }),
  loss: shaped({ lossPercent: 20 }),
  duplicate: shaped({ duplicatePercent: 20 }),
  corrupt: shaped({ corruptPercent: 20 }),
  bandwidth: shaped({
    bandwidth: { rateBitsPerSecond: 8_000_000, limitBytes: 100_000, bufferBytes: 10_000, peakRateBitsPerSecond: 0, minBurstBytes: 0 },
  }),
  netem: shaped({ latencyUs: 10_000, lossPercent: 5, reorder: { percent: 10, correlation: 0, gap: 2 }, rateBitsPerSecond: 8_000_000 }),
};
/** Joins and leaves while the fault above stands: a change of plan has steps of its own. */
const another = networkFault("other/.", [rule({ effect: shape({ latencyUs: 1_000 }) })]);

interface Point {
  readonly action: string;
  readonly program: number;
  readonly when: "before" | "after";
}

describe("an agent that is killed at any program it starts", () => {
  /** A number, or "all". */
  const wanted = process.env["SQUALL_CRASH_POINTS"] ?? "24";
  const tries = wanted === "all" ? Number.POSITIVE_INFINITY : Number(wanted);
  let hosts: TwoHosts;
  let clean: string;

  before(async () => {
    hosts = await createTwoHosts();
    await hosts.right.traffic({ do: "listen-udp" });
    const agent = await hosts.startAgent();
    do {
      await sleep(200);
      clean = await agent.dump();
    } while (clean.includes("tentative"));
    await agent.end();
  });
  after(() => hosts.close());

  /** Applies, changes twice and recovers; the number of programs that took. */
  async function live(agent: AgentHandle, faults: readonly Fault[]): Promise<number> {
    const runs = [await agent.apply(faults), await agent.apply([...faults, another]), await agent.apply(faults), await agent.apply([])];
    return runs.reduce((sum, { programs }) => sum + programs, 0);
  }

  it("leaves nothing that its next life does not remove", async function () {
    this.timeout(900_000);
    const points: Point[] = [];
    for (const [action, faults] of Object.entries(cases)) {
      const agent = await hosts.startAgent();
      const programs = await live(agent, faults);
      assert.equal(await agent.dump(), clean, `${action} left something after a clean run`);
      await agent.end();
      for (let program = 1; program <= programs; program++)
        for (const when of ["before", "after"] as const) points.push({ action, program, when });
    }
    const day = Math.floor(Date.now() / 86_400_000);
    const stride = Math.max(1, Math.floor(points.length / tries));
    const chosen = points.filter((_, index) => (index + day) % stride === 0);
    for (const { action, program, when } of chosen) {
      const agent = await hosts.startAgent();
      await agent.dieAt(program, when);
      await assert.rejects(live(agent, cases[action] ?? []), /ended/, `${action}: nothing died at program ${program}`);
      const next = await hosts.startAgent();
      assert.equal(await next.dump(), clean, `${action}, killed ${when} program ${program}`);
      await next.end();
    }
    console.log(`    ${chosen.length} of ${points.length} points, nothing left`);
  });

  it("lets the kernel end its faults when it is frozen instead", async function () {
    this.timeout(120_000);
    for (const [action, faults] of Object.entries(cases)) {
      const agent = await hosts.startAgent();
      await agent.apply(faults.map((fault) => ({ ...fault, leaseMs: 1_000 })));
      agent.process.kill("SIGSTOP");
      await sleep(2_200);
      const saved = await hosts.left.run("ipset", "list");
      assert.doesNotMatch(saved, /^\S+\/1 timeout/m, `${action}: a gate is still open`);
      agent.process.kill("SIGCONT");
      await agent.end();
      const next = await hosts.startAgent();
      assert.equal(await next.dump(), clean, action);
      await next.end();
    }
  });
});

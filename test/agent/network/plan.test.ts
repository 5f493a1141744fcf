import assert from "node:assert/strict";
import fc from "fast-check";
import { planClock } from "../../../agent/network/clock.ts";
import type { PodFacts } from "../../../agent/network/facts.ts";
import { parseNetworks } from "../../../agent/network/parse.ts";
import { planNetwork } from "../../../agent/network/plan.ts";
import { createRunningCounters, parseRuleCounters } from "../../../agent/network/rule-counters.ts";
import { planRuleSweep, planSetSweep } from "../../../agent/network/sweep.ts";
import { canonicalRules } from "../../../agent/network/dump.ts";
import type { Plan } from "../../../agent/plan.ts";
import type { Fault } from "../../../proto/gen/agent.ts";
import { Direction, type NetworkRule } from "../../../proto/gen/faults.ts";
import { assertGolden } from "../../support/golden.ts";

const facts: PodFacts = { iptables: "nft", probeSources: ["10.244.0.1", "10.250.0.2"], probePorts: [8080, 9000], agentPort: 9445 };
const drop = (direction: Direction, networks?: readonly string[]): NetworkRule => ({
  direction,
  peers: networks && { networks: [...networks] },
  effect: { $case: "partition", value: {} },
});
const slow = (latencyUs: number, networks?: readonly string[]): NetworkRule => ({
  direction: Direction.EGRESS,
  peers: networks && { networks: [...networks] },
  effect: { $case: "shape", value: { latencyUs, jitterUs: 0, lossPercent: 0 } },
});
const fault = (id: string, ...rules: readonly NetworkRule[]): Fault => ({
  id,
  experimentUid: "e",
  experiment: "x",
  leaseMs: 60_000,
  remainingMs: undefined,
  family: { $case: "network", value: { rules: [...rules] } },
});

function render({ steps, refused }: Plan): string {
  const text = steps.map((step) =>
    step.do === "engine"
      ? `== engine\n${JSON.stringify(step.rules, null, 1)}\n`
      : `== ${step.id}: ${step.command.argv.join(" ")}\n${step.command.stdin ?? ""}-- undo: ${step.undo.argv.join(" ")}\n${step.undo.stdin ?? ""}`,
  );
  return [...text, ...refused.map(({ faultId, reason }) => `== refused ${faultId}: ${reason}\n`)].join("");
}

describe("planNetwork", () => {
  it("cuts a pod off from some peers in both directions", () => {
    const peers = ["10.244.0.7/32", "10.96.0.9/32"];
    assertGolden(
      "network/partition.txt",
      render(planNetwork([fault("e1/.", drop(Direction.EGRESS, peers), drop(Direction.INGRESS, peers))], facts)),
    );
  });

  it("combines a delay to one peer, a delay to everybody and a partition", () => {
    const faults = [
      fault("e1/.", slow(200_000, ["10.244.0.7/32"])),
      fault("e2/.", slow(50_000)),
      fault("e3/.Target", drop(Direction.INGRESS, ["10.244.0.8/32"])),
    ];
    assertGolden("network/combined.txt", render(planNetwork(faults, facts)));
  });

  it("starts at most four programs", () => {
    const { steps } = planNetwork([fault("e1/.", slow(1), drop(Direction.INGRESS))], facts);
    const programs = steps.reduce((count, step) => count + (step.do === "run" ? (step.thenClock === true ? 2 : 1) : 0), 0);
    assert.ok(programs <= 4, `${programs} programs`);
  });

  it("means the same whatever the order of the faults, and nothing for none", () => {
    const faults = ["c", "a", "b"].map((id) => fault(id, slow(1, ["10.0.0.1/32"])));
    assert.deepEqual(planNetwork(faults, facts), planNetwork(faults.toReversed(), facts));
    assert.deepEqual(planNetwork([], facts), { steps: [], refused: [] });
  });

  it("refuses what it cannot do, by fault, and carries out the rest", () => {
    const inbound: NetworkRule = { ...slow(1), direction: Direction.INGRESS };
    const { refused, steps } = planNetwork(
      [
        fault("1", inbound),
        fault("2", drop(Direction.EGRESS, ["::1/128"])),
        fault("3", drop(Direction.EGRESS, ["; reboot"])),
        fault("4", slow(-1)),
        { ...fault("5"), family: undefined },
        fault("6", drop(Direction.EGRESS)),
      ],
      facts,
    );
    assert.deepEqual(
      refused.map(({ faultId, reason }) => `${faultId} ${reason}`),
      ["1 NotYetSupported", "2 NotYetSupported", "3 InvalidPeers", "4 InvalidRule", "5 UnknownFamily"],
    );
    assert.deepEqual(
      steps.map(({ id }) => id),
      ["sets", "chains", "jumps"],
    );
  });

  it("takes every name back that it makes, and lets nothing of a hostile id or peer into a command", () => {
    const text = fc.oneof(
      fc.string(),
      fc.constantFrom("a\nadd squall-gate 0.0.0.0/0", "-j ACCEPT", "$(reboot)", "10.0.0.1/32", "10.0.0.0/8"),
    );
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(text, fc.array(text, { maxLength: 3 })), { maxLength: 4, selector: ([id]) => id }), (wanted) => {
        const { steps } = planNetwork(
          wanted.map(([id, networks]) => fault(id, drop(Direction.EGRESS, networks))),
          facts,
        );
        for (const step of steps) {
          if (step.do !== "run") continue;
          for (const line of `${step.command.stdin}${step.undo.stdin}`.split("\n")) assert.match(line, /^[A-Za-z0-9 ./:,!*[\]_-]*$/);
          const made = [...(step.command.stdin ?? "").matchAll(/^(?:create |:)(squall-\S+)/gm)].map((match) => match[1] ?? "");
          for (const name of made) assert.match(step.undo.stdin ?? "", new RegExp(`^(destroy|-X) ${name}$`, "m"));
        }
      }),
    );
  });
});

describe("parseNetworks", () => {
  it("clears host bits, sorts, drops duplicates, and halves everything", () => {
    assert.deepEqual(parseNetworks(["10.0.0.7/8", "10.1.1.1/8", "0.0.0.0/0", "1.2.3.4/32"]), {
      ok: true,
      networks: ["0.0.0.0/1", "1.2.3.4/32", "10.0.0.0/8", "128.0.0.0/1"],
    });
  });
  for (const hostile of [
    "",
    "1",
    "10.0.0.1",
    "10.0.0.1/33",
    "10.0.0.1/8/8",
    "010.0.0.1/8",
    "10.0.0.1/8\nflush",
    "-o",
    "x".repeat(1 << 20),
  ]) {
    it(`refuses ${JSON.stringify(hostile.slice(0, 20))}`, () => assert.equal(parseNetworks([hostile]).ok, false));
  }
});

describe("planClock", () => {
  it("gives each gate what is left, in whole seconds rounded up, and the jumps the longest", () => {
    const clock = planClock([
      { fault: fault("a"), remainingMs: 1 },
      { fault: fault("b"), remainingMs: 4_001 },
    ]);
    assert.deepEqual(
      [...(clock?.stdin ?? "").matchAll(/timeout (\d+)/g)].map((match) => match[1]),
      ["5", "5", "1", "1", "5", "5"],
    );
    assert.equal(planClock([]), undefined);
  });
});

const saved = `# Generated by iptables-save
*filter
:INPUT ACCEPT [1:2]
:OUTPUT ACCEPT [0:0]
:squall-out - [0:0]
[9:9] -A INPUT -j ACCEPT
[5:5] -A OUTPUT ! -o lo -m set --match-set squall-gate dst -j squall-out
[3:3] -A squall-out -m owner --gid-owner 65010 -m comment --comment squall-v-0123456789ab -j RETURN
[7:70] -A squall-out -m set --match-set squall-g-aaaaaaaaaaaa dst -m comment --comment squall-aaaaaaaaaaaa -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
COMMIT
`;

describe("reading back", () => {
  it("sweeps what is ours and leaves what is not", () => {
    const plain = saved.replaceAll(/^\[\d+:\d+\] /gm, "");
    assert.deepEqual(planRuleSweep("nft", plain), {
      argv: ["iptables-nft-restore", "--noflush"],
      stdin: "*filter\n-D OUTPUT ! -o lo -m set --match-set squall-gate dst -j squall-out\n-F squall-out\n-X squall-out\nCOMMIT\n",
    });
    assert.equal(planRuleSweep("nft", "*filter\n:INPUT ACCEPT\nCOMMIT\n"), undefined);
    assert.deepEqual(planSetSweep("squall-gate\nmine\nsquall-g-1\n")?.stdin, "destroy squall-gate\ndestroy squall-g-1\n");
  });

  it("reads drops by fault, and exemptions", () => {
    assert.deepEqual(parseRuleCounters(saved), { version: "squall-v-0123456789ab", dropped: new Map([["aaaaaaaaaaaa", 7]]), exempted: 3 });
  });

  it("goes on counting when rules are replaced or taken away and put back", () => {
    const running = createRunningCounters(() => 5);
    const id = "e/.";
    const reading = (version: string, packets: number) =>
      parseRuleCounters(saved.replaceAll("aaaaaaaaaaaa", shortOf(id)).replace("[7:70]", `[${packets}:0]`).replace("0123456789ab", version));
    running.of(id);
    running.read(reading("000000000001", 4));
    running.read(reading("000000000001", 6));
    running.read(reading("000000000002", 1));
    running.read(reading("000000000002", 0));
    running.read(reading("000000000002", 2));
    assert.equal(running.of(id).dropped, 9);
    running.keepOnly([]);
    assert.equal(running.of(id).dropped, 0);
  });

  it("prints only tables that hold something, without counters and comments", () => {
    assert.deepEqual(canonicalRules("# x\n*nat\n:PREROUTING ACCEPT [1:2]\nCOMMIT\n*filter\n:INPUT DROP [1:2]\nCOMMIT\n"), [
      "*filter",
      ":INPUT DROP",
      "COMMIT",
    ]);
  });
});

/** The name of a fault in rules, read from a plan. */
function shortOf(id: string): string {
  const [step] = planNetwork([fault(id, drop(Direction.EGRESS))], facts).steps;
  return /squall-g-([0-9a-f]{12})/.exec(step?.do === "run" ? (step.command.stdin ?? "") : "")?.[1] ?? "";
}

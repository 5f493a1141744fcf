import assert from "node:assert/strict";
import fc from "fast-check";
import { planClock } from "../../../agent/network/clock.ts";
import type { EngineRules } from "../../../agent/network/engine/rules.ts";
import type { PodFacts } from "../../../agent/network/facts.ts";
import { parsePeers } from "../../../agent/network/parse.ts";
import { planNetwork } from "../../../agent/network/plan.ts";
import { createRunningCounters, parseRuleCounters } from "../../../agent/network/rule-counters.ts";
import { planLinkSweep, planRuleSweep, planSetSweep } from "../../../agent/network/sweep.ts";
import { canonicalRules } from "../../../agent/network/dump.ts";
import type { Plan } from "../../../agent/plan.ts";
import type { Fault } from "../../../proto/gen/agent.ts";
import { Direction, Engine, type NetworkRule, Protocol } from "../../../proto/gen/faults.ts";
import { networkFault, networks, podFacts, rule, shape } from "../../support/network-faults.ts";
import { assertGolden } from "../../support/golden.ts";

const facts = podFacts();
const withNetem = podFacts({ noNetem: undefined });
const dualStack = podFacts({ families: ["ipv4", "ipv6"], probeSources: ["10.250.0.2", "fe80::1"] });
const drop = (direction: Direction, list?: readonly string[]): NetworkRule => rule({ direction, peers: list && networks(...list) });
const slow = (latencyUs: number, list?: readonly string[]): NetworkRule =>
  rule({ effect: shape({ latencyUs }), peers: list && networks(...list) });
const fault = (id: string, ...rules: readonly NetworkRule[]): Fault => networkFault(id, rules);

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
    const programs = steps.reduce((count, step) => count + (step.do === "run" ? 1 : 0), 0);
    assert.ok(programs <= 4, `${programs} programs`);
  });

  it("means the same whatever the order of the faults, and nothing for none", () => {
    const faults = ["c", "a", "b"].map((id) => fault(id, slow(1, ["10.0.0.1/32"])));
    assert.deepEqual(planNetwork(faults, facts), planNetwork(faults.toReversed(), facts));
    assert.deepEqual(planNetwork([], facts), { steps: [], refused: [] });
  });

  it("refuses what it cannot do, by fault, and carries out the rest", () => {
    const arriving = (own: Parameters<typeof shape>[0]): NetworkRule => rule({ direction: Direction.INGRESS, effect: shape(own) });
    const faults: readonly (readonly [Fault, reason: string])[] = [
      [fault("01", arriving({ duplicatePercent: 1 })), "CannotDuplicate"],
      [networkFault("02", [arriving({ latencyUs: 1 })], { engine: Engine.NETEM }), "NotWithNetem"],
      [networkFault("03", [rule({ effect: shape({ latencyUs: 1 }) })], { engine: Engine.NETEM }), "NotWithNetem"],
      [fault("04", drop(Direction.EGRESS, ["; reboot"])), "InvalidPeers"],
      [fault("05", slow(-1)), "InvalidRule"],
      [{ ...fault("06"), family: undefined }, "UnknownFamily"],
      [fault("07", rule({ peerPorts: [{ first: 80, last: 80 }] })), "InvalidRule"],
      [fault("08", rule({ device: "eth0; reboot" })), "InvalidRule"],
      [fault("09", rule({ device: "net1", effect: shape({ latencyUs: 1 }) })), "NoSuchDevice"],
      [fault("0a", rule({ device: "net1" })), "NoSuchDevice"],
      [fault("10", rule({ peers: { networks: [], endpoints: [], hostNames: [{ name: "db.example", port: 0 }] } })), "NameNotResolved"],
    ];
    const { refused, steps } = planNetwork([...faults.map(([each]) => each), fault("99", drop(Direction.EGRESS))], facts);
    assert.deepEqual(
      refused.map(({ faultId, reason }) => `${faultId} ${reason}`).toSorted(),
      faults.map(([{ id }, reason]) => `${id} ${reason}`),
    );
    assert.deepEqual(
      steps.map(({ id }) => id),
      ["sets", "filter-ipv4"],
    );
  });

  it("shapes by netem where the kernel has it, by disciplines that are added and never replaced", () => {
    const faults = [
      fault(
        "e1/.",
        rule({ peers: networks("10.244.0.7/32"), effect: shape({ latencyUs: 80_000, jitterUs: 10_000, latencyCorrelation: 25 }) }),
      ),
      fault(
        "e2/.",
        rule({
          effect: shape({
            latencyUs: 100,
            lossPercent: 2.5,
            lossCorrelation: 30,
            corruptPercent: 1,
            reorder: { percent: 5, correlation: 0, gap: 3 },
          }),
        }),
      ),
    ];
    assertGolden("network/netem.txt", render(planNetwork(faults, withNetem)));
  });

  it("covers both families, devices, ports, exclusions and probes", () => {
    const faults = [
      networkFault(
        "e1/.",
        [
          rule({
            peers: {
              networks: ["2001:db8::/32"],
              endpoints: [{ network: "192.0.2.0/24", port: 53 }],
              hostNames: [{ name: "db.example", port: 5432 }],
            },
            except: networks("2001:db8::1/128"),
            device: "eth0",
            protocol: Protocol.UDP,
            localPorts: [{ first: 53, last: 53 }],
            peerPorts: [{ first: 1024, last: 65_535 }],
            effect: shape({ lossPercent: 50 }),
          }),
        ],
        { affectsProbes: true },
      ),
      fault("e2/.", rule({ direction: Direction.INGRESS, effect: shape({ latencyUs: 5 }) })),
    ];
    assertGolden("network/dual-stack.txt", render(planNetwork(faults, dualStack, new Map([["db.example", ["192.0.2.9"]]]))));
  });

  const limit = { rateBitsPerSecond: 1_000_000 };
  const engineCases: readonly (readonly [what: string, own: Partial<PodFacts>, faults: readonly Fault[], expected: string])[] = [
    ["the kernel's netem", { noNetem: undefined }, [fault("a", slow(1))], "tree"],
    ["the engine where asked to", { noNetem: undefined }, [networkFault("a", [slow(1)], { engine: Engine.NFQUEUE })], "engine"],
    ["the engine beside a foreign discipline", { noNetem: undefined, foreignQdiscs: ["eth0"] }, [fault("a", slow(1))], "engine"],
    [
      "the engine for what arrives",
      { noNetem: undefined },
      [fault("a", rule({ direction: Direction.INGRESS, effect: shape({ latencyUs: 1 }) }))],
      "engine",
    ],
    ["a lonely duplicate in the kernel", { noNetem: undefined }, [fault("a", rule({ effect: shape({ duplicatePercent: 1 }) }))], "tree"],
    [
      "a duplicate beside others by the engine",
      { noNetem: undefined },
      [fault("a", rule({ effect: shape({ duplicatePercent: 1 }) })), fault("b", slow(1))],
      "tree,engine",
    ],
    [
      "rates that meet others by the engine",
      { noNetem: undefined },
      [fault("a", rule({ effect: shape(limit) })), fault("b", slow(1))],
      "engine",
    ],
    ["netem where there is no NFQUEUE", { noNetem: undefined, noNfqueue: "None." }, [fault("a", slow(1))], "tree"],
    ["nothing where there is neither", { noNfqueue: "None." }, [fault("a", slow(1))], "a NoEngine"],
  ];
  for (const [what, own, faults, expected] of engineCases) {
    it(`uses ${what}`, () => {
      const { steps, refused } = planNetwork(faults, podFacts(own));
      const found = [
        ...steps.map(({ id }) => id).filter((id) => id === "tree" || id === "engine"),
        ...refused.map(({ faultId, reason }) => `${faultId} ${reason}`),
      ];
      assert.equal(found.join(), expected);
    });
  }

  it("makes a class for each combination that some packet could match, and no other", () => {
    const to = (id: string, ...list: readonly string[]): Fault => fault(id, slow(1, list));
    const classes = (...faults: readonly Fault[]): number => {
      const engine = planNetwork(faults, facts).steps.find(({ do: what }) => what === "engine");
      return (engine?.do === "engine" ? (engine.rules as EngineRules) : { classes: [] }).classes.length;
    };
    assert.equal(classes(to("a", "10.0.0.1/32"), to("b", "10.0.0.2/32")), 2);
    assert.equal(classes(to("a", "10.0.0.0/24"), to("b", "10.0.0.2/32")), 3);
    assert.equal(classes(to("a", "10.0.0.0/24"), to("b", "10.0.0.2/32"), to("c", "10.0.0.3/32")), 5);
    assert.equal(
      classes(
        fault("a", slow(1)),
        fault("b", rule({ protocol: Protocol.TCP, effect: shape({ latencyUs: 1 }) })),
        fault("c", rule({ protocol: Protocol.UDP, effect: shape({ latencyUs: 1 }) })),
      ),
      5,
    );
  });

  it("refuses the fault that makes too many combinations, and carries out the others", () => {
    const faults = Array.from({ length: 7 }, (_, index) => fault(String(index), slow(1)));
    const { refused, steps } = planNetwork(faults, facts);
    assert.deepEqual(
      refused.map(({ faultId, reason }) => `${faultId} ${reason}`),
      ["6 TooManyCombinations"],
    );
    assert.equal(steps.length, 3);
  });

  it("keeps the number of a class whatever else there is, so that no packet meets another one's fault", () => {
    const queueOf = (faults: readonly Fault[], key: string): number | undefined => {
      const engine = planNetwork(faults, facts).steps.find(({ do: what }) => what === "engine");
      return (engine?.do === "engine" ? (engine.rules as EngineRules) : { classes: [] }).classes.find(({ rules }) => rules.join() === key)
        ?.queue;
    };
    const one = fault("a", slow(1));
    assert.notEqual(queueOf([one], "a#0"), undefined);
    assert.equal(queueOf([one], "a#0"), queueOf([one, fault("b", slow(7)), fault("c", slow(9))], "a#0"));
  });

  it("plans 5,000 external targets", () => {
    const list = Array.from({ length: 5_000 }, (_, index) => `198.${18 + (index >> 15)}.${(index >> 8) & 127}.${index & 255}/32`);
    const { steps, refused } = planNetwork([fault("a", slow(1, list)), fault("b", slow(1, list.slice(100)))], facts);
    assert.equal(refused.length, 0);
    assert.equal((steps[0]?.do === "run" ? steps[0].command.stdin : "")?.match(/^add squall-p-/gm)?.length, 9_900);
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
          for (const line of `${step.command.stdin}${step.undo.stdin}`.split("\n")) assert.match(line, /^[A-Za-z0-9 ./:,!*[\]_+-]*$/);
          const made = [...(step.command.stdin ?? "").matchAll(/^(?:create |:)(squall-\S+)/gm)].map((match) => match[1] ?? "");
          for (const name of made) assert.match(step.undo.stdin ?? "", new RegExp(`^(destroy|-X) ${name}$`, "m"));
        }
      }),
    );
  });
});

describe("parsePeers", () => {
  it("clears host bits, sorts, drops duplicates, halves everything, and tells families and ports apart", () => {
    const parsed = parsePeers(
      {
        networks: ["10.0.0.7/8", "10.1.1.1/8", "0.0.0.0/0", "1.2.3.4/32", "FD00::7/64"],
        endpoints: [{ network: "1.2.3.4/32", port: 80 }],
        hostNames: [{ name: "DB.example", port: 0 }],
      },
      new Map([["db.example", ["192.0.2.1", "2001:db8::1"]]]),
    );
    assert.deepEqual(parsed, {
      ok: true,
      value: {
        ipv4: {
          networks: ["0.0.0.0/1", "1.2.3.4/32", "10.0.0.0/8", "128.0.0.0/1", "192.0.2.1/32"],
          endpoints: ["1.2.3.4/32,tcp:80", "1.2.3.4/32,udp:80"],
        },
        ipv6: { networks: ["2001:db8::1/128", "fd00::/64"], endpoints: [] },
      },
    });
  });

  it("says of a name without addresses that it is tried again", () => {
    const parsed = parsePeers({ networks: [], endpoints: [], hostNames: [{ name: "db.example", port: 0 }] }, new Map());
    assert.equal(parsed.ok ? undefined : `${parsed.reason} ${parsed.isTransient}`, "NameNotResolved true");
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
    "fe80::1%eth0/64",
    "::/129",
    "x".repeat(1 << 20),
  ]) {
    it(`refuses ${JSON.stringify(hostile.slice(0, 20))}`, () => assert.equal(parsePeers(networks(hostile), new Map()).ok, false));
  }
});

describe("planClock", () => {
  it("gives each gate what is left, in whole seconds rounded up, and the jumps the longest", () => {
    const clock = planClock(
      [
        { fault: fault("a"), remainingMs: 1 },
        { fault: fault("b"), remainingMs: 4_001 },
      ],
      ["ipv4"],
    );
    assert.deepEqual(
      [...(clock?.stdin ?? "").matchAll(/timeout (\d+)/g)].map((match) => match[1]),
      ["5", "5", "1", "1", "5", "5"],
    );
    assert.equal(planClock([], ["ipv4"]), undefined);
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
    assert.deepEqual(planRuleSweep("iptables-nft", plain), {
      argv: ["iptables-nft-restore", "--noflush"],
      stdin: "*filter\n-D OUTPUT ! -o lo -m set --match-set squall-gate dst -j squall-out\n-F squall-out\n-X squall-out\nCOMMIT\n",
    });
    assert.equal(planRuleSweep("iptables-nft", "*filter\n:INPUT ACCEPT\nCOMMIT\n"), undefined);
    assert.deepEqual(planSetSweep("squall-gate\nmine\nsquall-g-1\n")?.stdin, "destroy squall-gate\ndestroy squall-g-1\n");
    const links =
      "lo UNKNOWN <LOOPBACK>\neth0@if2 UP <BROADCAST>\nsquall-ifb DOWN <NOARP>\nsquall-x@if3 DOWN <NOARP>\nnot-squall-x DOWN <NOARP>\n";
    assert.deepEqual(
      planLinkSweep(links).map(({ argv }) => argv.join(" ")),
      ["ip link del squall-ifb", "ip link del squall-x"],
    );
  });

  it("reads drops by fault, and exemptions", () => {
    assert.deepEqual(parseRuleCounters(saved), {
      version: "squall-v-0123456789ab",
      dropped: new Map([["aaaaaaaaaaaa", 7]]),
      classified: new Map(),
      exempted: 3,
    });
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

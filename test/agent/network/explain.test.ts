import assert from "node:assert/strict";
import { countPackets, explainNetwork } from "../../../agent/network/explain.ts";
import { planNetwork } from "../../../agent/network/plan.ts";
import { Direction, Protocol } from "../../../proto/gen/faults.ts";
import { networkFault, networks, podFacts, rule, shape } from "../../support/network-faults.ts";

const faults = [
  {
    ...networkFault("1/.", [rule({ peers: networks("10.0.0.1/32"), effect: shape({ latencyUs: 20_000, jitterUs: 500 }) })]),
    experiment: "NetworkChaos/shop/slow",
  },
  { ...networkFault("2/.", [rule({ protocol: Protocol.TCP, effect: shape({ lossPercent: 3 }) })]), experiment: "NetworkChaos/shop/thin" },
  { ...networkFault("3/.", [rule({ direction: Direction.INGRESS, peers: networks("10.0.0.2/32") })]), experiment: "NetworkChaos/shop/cut" },
];

for (const [engine, facts] of [
  ["NFQUEUE", podFacts()],
  ["qdisc below class", podFacts({ noNetem: undefined })],
] as const) {
  describe(`explaining faults carried out by ${engine}`, () => {
    const classes = explainNetwork(faults, facts, new Map());

    it("names every class with what it matches, whose it is and what happens", () => {
      assert.deepEqual(
        classes.map(({ way, by, experiments, matches, effect }) => [
          way,
          by.replace(/ [0-9a-f:]+$/, ""),
          experiments.map((name) => name.split("/")[2]).join("+"),
          matches,
          effect.replaceAll(/, at most \d+ packets wait/g, ""),
        ]),
        [
          ["arriving", "chain squall-in", "cut", "10.0.0.2/32", "dropped"],
          ["leaving", engine, "slow", "10.0.0.1/32", "late by 20 ms ± 0.5 ms"],
          ["leaving", engine, "thin", "everything tcp", "3 % lost"],
          ["leaving", engine, "slow+thin", "10.0.0.1/32 and everything tcp", "late by 20 ms ± 0.5 ms, then 3 % lost"],
        ],
      );
    });

    it("finds the counter of each class, and of no other, in what iptables-save prints of the plan", () => {
      const { steps } = planNetwork(faults, facts);
      const lines = steps.flatMap((step) => (step.do === "run" ? (step.command.stdin ?? "").split("\n") : []));
      let packets = 0;
      const saved = lines.map((line) => (line.startsWith("-A") ? `[${++packets}:0] ${line}` : line));
      const counted = countPackets(classes, saved.join("\n"));
      const rules = saved.filter((line) => /DROP|CLASSIFY|NFQUEUE/.test(line)).map((line) => Number(/^\[(\d+)/.exec(line)?.[1]));
      assert.deepEqual(new Set(counted.map((own) => own.packets)), new Set(rules));
      assert.equal(new Set(rules).size, classes.length);
    });
  });
}

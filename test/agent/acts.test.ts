import assert from "node:assert/strict";
import { type Act, planActs, planUndo } from "../../agent/acts.ts";
import type { Step } from "../../agent/plan.ts";

const step = (id: string, program: string, more: object = {}): Step => ({
  do: "run",
  id,
  command: { argv: [program], stdin: `add ${id}\n` },
  undo: { argv: [program], stdin: `del ${id}\n` },
  ...more,
});
const engine: Step = { do: "engine", id: "engine", rules: "some" };
const show = (acts: readonly Act[]): readonly string[] =>
  acts.map((act) => {
    if (act.do === "engine") return `engine ${String(act.rules)}`;
    const inputs = act.commands.map(({ stdin = "" }) => stdin.trim());
    return `${act.argv?.join(" ") ?? "?"}: ${[...inputs, ...(act.thenClock ? ["clock"] : [])].join(", ")}`;
  });

describe("acts", () => {
  it("are one for neighbours that the same program reads, there and back", () => {
    const steps = [step("sets", "ipset"), engine, step("filter", "iptables"), step("mangle", "iptables"), step("filter6", "ip6tables")];
    assert.deepEqual(show(planActs([], steps)), [
      "ipset: add sets",
      "engine some",
      "iptables: add filter, add mangle",
      "ip6tables: add filter6",
    ]);
    assert.deepEqual(show(planUndo(steps)), [
      "ip6tables: del filter6",
      "iptables: del mangle, del filter",
      "engine undefined",
      "ipset: del sets",
    ]);
  });

  it("set the clock right after the step that asks for it, also where the step is in force already", () => {
    const sets = step("sets", "ipset", { thenClock: true });
    const more = step("more", "ipset");
    assert.deepEqual(show(planActs([], [sets, more])), ["ipset: add sets, clock", "ipset: add more"]);
    assert.deepEqual(show(planActs([sets, more], [sets, more])), ["?: clock"]);
  });

  it("take back what is not wanted any more after all that is new", () => {
    const [filter, mangle] = [step("filter", "iptables"), step("mangle", "iptables")];
    assert.deepEqual(show(planActs([engine, mangle], [filter])), ["iptables: add filter, del mangle", "engine undefined"]);
  });

  it("end with what only the old version of a step had, inside the table that it is of", () => {
    const [table, end] = ["*filter\n", "COMMIT\n"];
    const old = step("filter", "iptables", { undo: { argv: ["iptables"], stdin: `${table}-X one\n-X two\n${end}` } });
    const changed = step("filter", "iptables", { undo: { argv: ["iptables"], stdin: `${table}-X one\n${end}` } });
    assert.deepEqual(show(planActs([old], [changed])), ["iptables: add filter, *filter\n-X two\nCOMMIT"]);
    assert.deepEqual(show(planActs([changed], [old])), ["iptables: add filter"]);
  });

  it("say which steps each of them begins, and of none that is in force", () => {
    const [sets, old, changed] = [step("sets", "ipset"), step("filter", "iptables"), step("filter", "iptables", { isAdditive: true })];
    assert.deepEqual(
      planActs([sets, old], [sets, changed]).map(({ steps }) => steps),
      [[changed]],
    );
  });
});

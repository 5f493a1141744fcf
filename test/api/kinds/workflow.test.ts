import assert from "node:assert/strict";
import { kinds } from "../../../api/kinds/registry.ts";

describe("a Workflow", () => {
  it("gets a suggestion for the first unknown name alone: each one takes a look at all names", () => {
    const names = Array.from({ length: 5 }, (_, index) => `step-${index}`);
    const children = names.map((name) => `${name}x`);
    const templates = names.map((name) => ({ name, templateType: "Serial", children }));
    const judged = kinds.Workflow.judge({ spec: { entry: "step-0", templates } }, { namespace: "shop" });
    assert.ok(!judged.ok);
    const suggestions = judged.errors.map(({ message }) => message.includes("Did you mean"));
    assert.deepEqual(suggestions, [true, ...Array.from({ length: 24 }, () => false)]);
  });

  it("is told which member of a Schedule would make Workflows", () => {
    const make = { schedule: "@daily", type: "PodChaos", podChaos: { action: "pod-kill", mode: "one" }, workflow: {} };
    const templates = [{ name: "often", templateType: "Schedule", schedule: make }];
    const judged = kinds.Workflow.judge({ spec: { entry: "often", templates } }, { namespace: "shop" });
    assert.deepEqual(!judged.ok && judged.errors.map(({ path }) => path), ["spec.templates[0].schedule.workflow"]);
  });
});

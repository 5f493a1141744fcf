import assert from "node:assert/strict";
import { ExperimentCluster } from "../support/experiment-cluster.ts";

describe("policies, while experiments run", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
  });
  afterEach(() => cluster.stop());

  const isInjected = (name: string): boolean => cluster.records(name).every((record) => record.endsWith(": Injected"));

  it("keep what they forbid from starting, where the webhook was away", async () => {
    const uid = cluster.addPod("a");
    await cluster.setPolicy("strict", { allow: [{ kind: "NetworkChaos", actions: ["delay"] }] });
    await cluster.partition("cut");
    assert.equal(
      cluster.selected("cut"),
      'False PolicyViolation: spec.action: "partition" is not allowed by policy strict (spec.allow), which allows NetworkChaos delay.',
    );
    assert.deepEqual(cluster.agents.of(uid).accepted, []);
  });

  it("stop what they come to forbid, and let it go on when they do not any more", async () => {
    cluster.addPod("a");
    await cluster.partition("cut");
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
    await cluster.setPolicy("late", { allow: [] });
    await cluster.pass(1_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected"]);
    assert.equal(cluster.condition("cut", "AllInjected").reason, "PolicyViolation");
    await cluster.setPolicy("late", undefined);
    await cluster.pass(1_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected"]);
  });

  it("end experiments when their window closes, and begin again with the next", async () => {
    cluster.addPod("a");
    const minutes = (offset: number): string => new Date(cluster.clock.now().getTime() + offset * 60_000).toISOString().slice(11, 16);
    await cluster.setPolicy("hours", {
      windows: [
        { from: minutes(-10), to: minutes(10) },
        { from: minutes(15), to: minutes(20) },
      ],
    });
    await cluster.partition("cut");
    await cluster.pass(9 * 60_000);
    assert.ok(isInjected("cut"));
    await cluster.pass(61_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Not Injected"]);
    await cluster.pass(5 * 60_000 + 30_000);
    assert.ok(isInjected("cut"));
  });

  it("leave a kill that is done as it is when their window closes and opens", async () => {
    cluster.addPod("a");
    await cluster.apply("PodChaos", "kill", { action: "pod-kill" });
    const before = [cluster.events("kill"), cluster.writes];
    const minutes = (offset: number): string => new Date(cluster.clock.now().getTime() + offset * 60_000).toISOString().slice(11, 16);
    await cluster.setPolicy("hours", {
      windows: [
        { from: minutes(-10), to: minutes(5) },
        { from: minutes(10), to: minutes(20) },
      ],
    });
    for (let minute = 0; minute < 12; minute += 1) await cluster.pass(60_000);
    assert.deepEqual([cluster.events("kill"), cluster.writes], before);
    assert.equal(cluster.condition("kill", "AllInjected", "PodChaos").status, "True");
  });

  it("leave protected pods out, and stop what has one already", async () => {
    cluster.addPod("a");
    cluster.addPod("b", { labels: { tier: "pay" } });
    await cluster.partition("before");
    assert.equal(cluster.records("before").length, 2);
    await cluster.setPolicy("safe", { protected: [{ matchLabels: { tier: "pay" } }] });
    await cluster.pass(1_000);
    assert.match(
      cluster.condition("before", "AllInjected").message ?? "",
      /^shop\/b: Policy safe \(spec\.protected\) keeps this pod from being a target\.$/,
    );
    await cluster.partition("after");
    assert.deepEqual(cluster.records("after"), ["shop/a: Injected"]);
    assert.deepEqual(
      cluster.experiment("after").status.skipped?.map(({ id, reason }) => `${id} ${reason}`),
      ["shop/b Protected"],
    );
  });

  it("grant the pods of a workload to one experiment after the other, all that it drew or none", async () => {
    for (const name of ["a", "b", "c", "d"]) cluster.addPod(name, { owner: "web", labels: { pod: name } });
    await cluster.setPolicy("half", { budget: { maxPercent: 50 } });
    const only = (...names: readonly string[]): object => ({
      selector: { namespaces: ["shop"], expressionSelectors: [{ key: "pod", operator: "In", values: names }] },
    });
    await cluster.partition("first", only("a", "b"));
    assert.ok(isInjected("first"));
    await cluster.partition("second", only("c"));
    await cluster.partition("same", only("a"));
    await cluster.pass(5_000);
    assert.deepEqual(cluster.records("second"), []);
    assert.equal(
      cluster.selected("second"),
      "False BudgetExceeded: shop/StatefulSet/web has 4 pods, 2 of them faulted already, and 3 would be; policy half (spec.budget.maxPercent) allows 50 %, which is 2.",
    );
    assert.ok(isInjected("same"), "a pod that is faulted already counts once");
    await cluster.delete("first");
    await cluster.pass(0);
    assert.ok(isInjected("second"), "room is given on at once");
  });

  it("count only pods that are alive in the size of a workload", async () => {
    for (const name of ["a", "b"]) cluster.addPod(name, { owner: "web" });
    for (const name of ["failed", "failed-too"]) cluster.addPod(name, { owner: "web", phase: "Failed", isReady: false });
    await cluster.setPolicy("half", { budget: { maxPercent: 50 } });
    await cluster.partition("cut");
    assert.equal(
      cluster.selected("cut"),
      "False BudgetExceeded: shop/StatefulSet/web has 2 pods, 0 of them faulted already, and 2 would be; policy half (spec.budget.maxPercent) allows 50 %, which is 1.",
    );
    await cluster.apply("PodChaos", "kill", { action: "pod-kill", mode: "one" });
    assert.equal(["a", "b"].filter((name) => cluster.hasPod(name)).length, 1, "nor are those that have ended among those that are down");
  });

  it("keep the place of an experiment that is paused", async () => {
    for (const name of ["a", "b"]) cluster.addPod(name, { owner: "web", labels: { pod: name } });
    await cluster.setPolicy("one", { budget: { maxPods: 1 } });
    const only = (pod: string): object => ({ selector: { namespaces: ["shop"], labelSelectors: { pod } } });
    await cluster.partition("first", only("a"));
    await cluster.annotate("first", { "experiment.chaos-mesh.org/pause": "true" });
    await cluster.partition("second", only("b"));
    await cluster.pass(5_000);
    assert.deepEqual([cluster.records("first"), cluster.records("second")], [["shop/a: Not Injected"], []]);
    await cluster.annotate("first", { "experiment.chaos-mesh.org/pause": null });
    await cluster.pass(5_000);
    assert.ok(isInjected("first"));
    assert.deepEqual(cluster.records("second"), []);
  });

  it("protect pods on whichever side they are faulted, and only there", async () => {
    cluster.addPod("a");
    cluster.addPod("b", { labels: { app: "db" } });
    const target = { target: { mode: "all", selector: { namespaces: ["shop"], labelSelectors: { app: "db" } } } };
    await cluster.apply("NetworkChaos", "both", { action: "delay", delay: { latency: "1ms" }, direction: "both", ...target });
    await cluster.apply("NetworkChaos", "to", { action: "delay", delay: { latency: "1ms" }, ...target });
    await cluster.setPolicy("safe", { protected: [{ matchLabels: { app: "db" } }] });
    await cluster.pass(1_000);
    assert.equal(cluster.condition("both", "AllInjected").reason, "PolicyViolation");
    assert.ok(cluster.records("to").every((record) => record.endsWith(": Injected")));
  });

  it("grant no more than there is in a race of fifty experiments, also after a change of leader", async () => {
    for (let index = 0; index < 50; index++) cluster.addPod(`p${index}`, { owner: "web", labels: { pod: `p${index}` } });
    await cluster.setPolicy("some", { budget: { maxPods: 7 } });
    const names = Array.from({ length: 50 }, (_, index) => `e${index}`);
    const faulted = (): readonly string[] =>
      names.filter((name) => (cluster.find(name)?.status.experiment.containerRecords ?? []).length > 0);
    await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        cluster.partition(`e${index}`, { selector: { namespaces: ["shop"], labelSelectors: { pod: `p${index}` } } }),
      ),
    );
    await cluster.pass(1_000);
    assert.equal(faulted().length, 7);
    await cluster.takeOver();
    await cluster.pass(60_000);
    assert.equal(faulted().length, 7);
    const first = faulted();
    for (const name of first) await cluster.delete(name);
    await cluster.pass(60_000);
    assert.equal(faulted().length, 7);
    assert.ok(faulted().every((name) => !first.includes(name)));
  });

  it("let followers in only while there is room", async () => {
    cluster.addPod("a", { owner: "web" });
    await cluster.setPolicy("two", { budget: { maxPods: 2 } });
    await cluster.partition("cut", {}, { "squall.dev/follow": "true" });
    for (const name of ["b", "c"]) cluster.addPod(name, { owner: "web" });
    await cluster.pass(1_000);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected", "shop/b: Injected"]);
    assert.deepEqual(
      cluster.experiment("cut").status.skipped?.map(({ id, reason }) => `${id} ${reason}`),
      ["shop/c BudgetExceeded"],
    );
  });

  it("count killed pods for a while, and those that are not ready", async () => {
    for (const name of ["a", "b", "c"]) cluster.addPod(name, { owner: "web", labels: { pod: name } });
    await cluster.setPolicy("one", { budget: { maxPods: 1 } });
    const kill = (name: string, pod: string) =>
      cluster.apply("PodChaos", name, { action: "pod-kill", mode: "one", selector: { namespaces: ["shop"], labelSelectors: { pod } } });
    await kill("first", "a");
    assert.ok(!cluster.hasPod("a"));
    await kill("second", "b");
    await cluster.pass(10_000);
    assert.match(
      cluster.selected("second", "PodChaos"),
      /^False BudgetExceeded: shop\/StatefulSet\/web has 2 pods, 1 of them faulted already, and 2 would be/,
    );
    cluster.addPod("a", { owner: "web", labels: { pod: "a" }, isReady: false });
    await cluster.pass(60_000);
    assert.ok(cluster.hasPod("b"), "what came in place of a is not ready yet");
    cluster.addPod("a", { owner: "web", labels: { pod: "a" } });
    await cluster.pass(60_000);
    assert.ok(!cluster.hasPod("b"));
  });
});

import assert from "node:assert/strict";
import { silentLog } from "../../common/log.ts";
import { chaosPolicies, clusterHalts, halts } from "../../kube/limit-resources.ts";
import { Limits } from "../../kube/limits.ts";
import { FakeClock, settle } from "../support/fake-clock.ts";
import { FakeKube } from "../support/fake-kube.ts";

describe("Limits", () => {
  const kube = new FakeKube();
  const limits = new Limits({ kube, clock: new FakeClock(), log: silentLog });
  const ref = { namespace: "shop", name: "stop" };
  const merge = { type: "merge" } as const;
  let calls = 0;
  let haltCalls = 0;

  before(async () => {
    kube.seed(chaosPolicies, { metadata: { name: "default" }, spec: { enabled: false } });
    for (const reflector of limits.reflectors) reflector.start();
    await Promise.all(limits.reflectors.map((reflector) => reflector.synced()));
    limits.onChange(() => (calls += 1));
    limits.onHaltChange(() => (haltCalls += 1));
  });
  after(() => Promise.all(limits.reflectors.map((reflector) => reflector.close())));

  const changes: readonly (readonly [what: string, act: () => unknown, calls: number, haltCalls: number])[] = [
    ["a halt comes", () => kube.seed(halts, { metadata: ref, spec: {} }), 1, 1],
    ["its status is written", () => kube.patch(halts, ref, { status: { stopped: 1 } }, { ...merge, subresource: "status" }), 0, 1],
    ["it is labelled", () => kube.patch(halts, ref, { metadata: { labels: { team: "a" } } }, merge), 0, 1],
    ["a halt of the cluster comes", () => kube.seed(clusterHalts, { metadata: { name: "all" }, spec: {} }), 1, 1],
    ["it goes", () => kube.remove(clusterHalts, { name: "all" }), 1, 1],
    ["a policy changes", () => kube.patch(chaosPolicies, { name: "default" }, { spec: { enabled: true } }, merge), 1, 0],
  ];
  for (const [what, act, expected, expectedForHalts] of changes)
    it(`calls back ${expected === 1 ? "once" : "not"} when ${what}`, async () => {
      calls = 0;
      haltCalls = 0;
      await act();
      await settle();
      assert.deepEqual([calls, haltCalls], [expected, expectedForHalts]);
    });
});

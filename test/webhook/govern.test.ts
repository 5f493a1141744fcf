import assert from "node:assert/strict";
import { readPolicy } from "../../api/policy/read.ts";
import type { Halt } from "../../kube/limit-resources.ts";
import { createGovern, type Govern } from "../../webhook/govern.ts";
import { admit, reviewOf } from "../support/admission.ts";
import { FakeClock } from "../support/fake-clock.ts";

const delay = { action: "delay", mode: "all", selector: { namespaces: ["shop", "bank"] }, delay: { latency: "1ms" } };

function haltIn(namespace: string | undefined, reason?: string): Halt {
  return {
    metadata: { name: "stop", namespace, uid: "h", resourceVersion: "1", creationTimestamp: "" },
    spec: reason === undefined ? {} : { reason },
    status: {},
  };
}

function govern({ policies = [], halts = [] }: { readonly policies?: readonly object[]; readonly halts?: readonly Halt[] }): Govern {
  const limits = {
    policies: policies.flatMap((spec, index) => readPolicy({ metadata: { name: `p${index}` }, spec }) ?? []),
    haltOn: (namespaces: readonly string[] | "all") =>
      halts.find(({ metadata: { namespace } }) => namespace === undefined || namespaces === "all" || namespaces.includes(namespace)),
  };
  return createGovern({ limits, labelsOf: () => ({}), clock: new FakeClock() });
}

describe("halts and policies at admission", () => {
  it("refuse with all violations, each with its policy, rule and limit", async () => {
    const policies = [{ allow: [{ kind: "NetworkChaos", actions: ["loss"] }] }, { duration: { max: "5m" }, namespaces: ["bank"] }];
    const { verdict } = await admit(reviewOf({ ...delay, duration: "1h" }), { govern: govern({ policies }) });
    assert.deepEqual([verdict.isAllowed, verdict.code], [false, "PolicyViolation"]);
    assert.equal(
      verdict.message,
      [
        "2 violations in NetworkChaos slow.",
        '  spec.action: "delay" is not allowed by policy p0 (spec.allow), which allows NetworkChaos loss.',
        '  spec.duration: is longer than policy p1 (spec.duration.max) allows. Write at most "5m".',
      ].join("\n"),
    );
  });

  it("refuse while a namespace that is touched, or the cluster, is halted, and name who says why", async () => {
    for (const [halt, name] of [
      [haltIn("bank", "outage"), 'Halt bank/stop ("outage")'],
      [haltIn(undefined), "ClusterHalt stop"],
    ] as const) {
      const { verdict } = await admit(reviewOf(delay), { govern: govern({ halts: [halt] }) });
      assert.deepEqual([verdict.code, verdict.message], ["Halted", `${name} refuses NetworkChaos slow until it is deleted.`]);
    }
    assert.ok((await admit(reviewOf(delay), { govern: govern({ halts: [haltIn("lab")] }) })).verdict.isAllowed);
  });

  it("let metadata of what is there be changed, so that it can be paused and let go", async () => {
    const update = reviewOf(delay, { operation: "UPDATE", oldObject: reviewOf(delay).object });
    const closed = govern({ policies: [{ allow: [] }], halts: [haltIn(undefined)] });
    assert.ok((await admit(update, { govern: closed })).verdict.isAllowed);
  });

  it("let halts and policies themselves be made at any time", async () => {
    const closed = govern({ policies: [{ allow: [] }], halts: [haltIn(undefined)] });
    for (const kindName of ["Halt", "ChaosPolicy"]) {
      const { verdict } = await admit(reviewOf({}, { kindName }), { govern: closed });
      assert.deepEqual([kindName, verdict.message], [kindName, ""]);
    }
  });

  it("ask the controller's own objects for no annotation: it was asked of what they are made from", async () => {
    const ticket = govern({ policies: [{ requiredAnnotations: [{ key: "ticket" }] }] });
    const child = reviewOf(delay, {
      metadata: { annotations: { "squall.dev/author": '{"username":"alice"}' } },
      userInfo: { username: "system:serviceaccount:squall-system:squall-controller", groups: [], extra: {} },
    });
    assert.equal((await admit(child, { govern: ticket })).verdict.message, "");
    assert.equal((await admit(reviewOf(delay), { govern: ticket })).verdict.code, "PolicyViolation");
  });
});

import assert from "node:assert/strict";
import { type OptIn, optInOf } from "../../api/opt-in.ts";

const inject = { "squall.dev/inject": "enabled" };
const lateJoin = { "squall.dev/late-join": "enabled" };

describe("what a namespace allows", () => {
  const rows: readonly (readonly [allows: OptIn, namespace: string, labels: Readonly<Record<string, string>> | undefined])[] = [
    ["none", "shop", undefined],
    ["none", "shop", { "squall.dev/inject": "disabled" }],
    ["none", "shop", lateJoin],
    ["sidecars", "shop", inject],
    ["sidecars", "shop", { ...inject, "squall.dev/late-join": "true" }],
    ["late-join", "shop", { ...inject, ...lateJoin }],
    ["sidecars", "kube-system", { ...inject, ...lateJoin }],
    ["sidecars", "squall-system", { ...inject, ...lateJoin }],
  ];
  for (const [allows, namespace, labels] of rows)
    it(`is ${allows} in ${namespace} with ${JSON.stringify(labels ?? "no labels")}`, () =>
      assert.equal(optInOf(namespace, labels), allows));
});

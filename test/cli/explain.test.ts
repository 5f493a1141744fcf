import assert from "node:assert/strict";
import { explainRefusal } from "../../cli/explain.ts";
import { errorOfUpgrade } from "../../kube/errors.ts";

describe("explainRefusal", () => {
  const rows: readonly (readonly [said: string, explanation: string])[] = [
    ["Unexpected server response: 404", "There is no pod web-0 in namespace shop. See: kubectl get pods -n shop"],
    [
      "Unexpected server response: 403",
      "You have no right to create pods/exec in namespace shop. See: kubectl auth can-i create pods/exec -n shop",
    ],
    [
      "Unexpected server response: 400",
      "Pod shop/web-0 has no Squall sidecar, or is on no node yet. Why: npm run squall -- -n shop doctor",
    ],
    ["Unexpected server response: 500", "exec in shop/web-0 was answered with 500: no text"],
    ["connect ECONNREFUSED 127.0.0.1:6443", "exec in shop/web-0: connect ECONNREFUSED 127.0.0.1:6443"],
  ];
  for (const [said, explanation] of rows)
    it(`says what is missing: ${said}`, () => {
      assert.equal(explainRefusal(errorOfUpgrade("exec in shop/web-0", said), { namespace: "shop", pod: "web-0" }), explanation);
    });
});

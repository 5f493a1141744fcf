import assert from "node:assert/strict";
import { halts } from "../../kube/limit-resources.ts";

describe("halts", () => {
  it("are read whatever a later version wrote into them: one that is overlooked would halt nothing", () => {
    const metadata = { name: "stop", namespace: "shop", uid: "u", resourceVersion: "1", creationTimestamp: "" };
    const halt = halts.parse({ metadata, spec: { reason: { en: "upgrade" } }, status: { conditions: [{ type: "Later" }] } });
    assert.deepEqual(halt, { metadata, spec: {}, status: {} });
  });
});

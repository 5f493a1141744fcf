import assert from "node:assert/strict";
import { workerUrl } from "../../../../agent/network/engine/worker-url.ts";

describe("workerUrl", () => {
  it("is the source file beside it, or the bundle that has the process's name", () => {
    assert.equal(workerUrl("file:///repo/agent/network/engine/engine.ts").href, "file:///repo/agent/network/engine/worker.ts");
    assert.equal(workerUrl("file:///squall/sidecar.mjs").href, "file:///squall/sidecar-engine.mjs");
  });
});

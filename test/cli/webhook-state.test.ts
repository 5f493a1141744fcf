import assert from "node:assert/strict";
import { readWebhookState } from "../../cli/webhook-state.ts";
import { KubeError } from "../../kube/errors.ts";
import { endpointSlices } from "../../kube/resources.ts";
import { FakeKube } from "../support/fake-kube.ts";

/** A cluster whose webhook has endpoints that say this of themselves. */
function withEndpoints(...ready: readonly (boolean | null)[]): FakeKube {
  const kube = new FakeKube();
  const labels = { "kubernetes.io/service-name": "squall-webhook" };
  kube.seed(endpointSlices, {
    metadata: { name: "squall-webhook-x", namespace: "squall-system", labels },
    addressType: "IPv4",
    endpoints: ready.map((isReady) => ({ addresses: ["10.0.0.1"], conditions: { ready: isReady } })),
  });
  return kube;
}

describe("readWebhookState", () => {
  for (const [state, endpoints] of [
    ["ready", [false, true]],
    ["ready", [null]], // not known, which Kubernetes has clients take for ready
    ["away", [false, false]],
    ["away", []],
  ] as const) {
    it(`is ${state} with endpoints ready: ${JSON.stringify(endpoints)}`, async () => {
      assert.equal(await readWebhookState(withEndpoints(...endpoints)), state);
    });
  }

  it("is away without any EndpointSlice", async () => {
    assert.equal(await readWebhookState(new FakeKube()), "away");
  });

  it("is unknown to those who may not look, and to nobody else", async () => {
    const kube = withEndpoints(true);
    kube.fail({ verb: "list", error: new KubeError("forbidden", "no") });
    assert.equal(await readWebhookState(kube), "unknown");
    kube.fail({ verb: "list", error: new KubeError("unavailable", "try later") });
    await assert.rejects(readWebhookState(kube), /try later/);
  });
});

import assert from "node:assert/strict";
import type { Kubectl } from "../../../lab/demo/kubectl.ts";
import { explainImagesOf, waitForRollout } from "../../../lab/demo/rollout.ts";

const pod = (name: string, image: string, waiting?: { readonly reason: string; readonly message?: string }): object => ({
  metadata: { name },
  status: { containerStatuses: [{ image, state: waiting === undefined ? { running: {} } : { waiting } }] },
});
const podList = (...items: readonly object[]): string => JSON.stringify({ items });

describe("explainImagesOf", () => {
  it("names each image that cannot be had once, with the node's words", () => {
    const pull = { reason: "ErrImagePull", message: "not found" };
    assert.deepEqual(
      explainImagesOf(podList(pod("a", "r/squall:1", pull), pod("b", "r/squall:1", { reason: "ImagePullBackOff" }), pod("c", "r/x"))),
      ["  Pod a cannot have the image r/squall:1: ErrImagePull. not found"],
    );
  });

  it("finds those of init containers, and passes over pods that only take their time", () => {
    const init = {
      metadata: { name: "a" },
      status: { initContainerStatuses: [{ image: "bad image", state: { waiting: { reason: "InvalidImageName" } } }] },
    };
    assert.deepEqual(
      explainImagesOf(podList(init, pod("b", "r/x", { reason: "ContainerCreating" }), { metadata: { name: "c" }, status: {} })),
      ["  Pod a cannot have the image bad image: InvalidImageName."],
    );
  });
});

describe("waitForRollout", () => {
  /** A cluster in which so many looks fail, with these pods. */
  function kubectlThat({ failures, list }: { readonly failures: number; readonly list: string }): Kubectl & { readonly asked: string[] } {
    const asked: string[] = [];
    return {
      asked,
      async run([command = ""]) {
        asked.push(command);
        if (command === "get") return list;
        if (asked.filter((one) => one === "rollout").length <= failures) throw new Error("timed out waiting");
        return "";
      },
      follow: () => undefined,
    };
  }

  it("ends at once where an image cannot be had", async () => {
    const list = podList(pod("a", "r/squall:1", { reason: "ImagePullBackOff" }));
    const kubectl = kubectlThat({ failures: 99, list });
    await assert.rejects(
      waitForRollout(kubectl, "deployment/w", "squall-system"),
      /deployment\/w in squall-system does not start\.\n.*r\/squall:1/,
    );
    assert.deepEqual(kubectl.asked, ["rollout", "get"]);
  });

  it("goes on looking for two minutes otherwise", async () => {
    const slow = kubectlThat({ failures: 3, list: podList(pod("a", "r/squall:1", { reason: "ContainerCreating" })) });
    await waitForRollout(slow, "deployment/w", "shop");
    assert.equal(slow.asked.filter((one) => one === "rollout").length, 4);
    await assert.rejects(waitForRollout(kubectlThat({ failures: 99, list: podList() }), "deployment/w", "shop"), /timed out waiting/);
  });
});

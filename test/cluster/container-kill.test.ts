import assert from "node:assert/strict";
import { waitUntil } from "../../lab/wait-until.ts";
import { storyCluster } from "./support/cluster.ts";
import { type Peers, startPeers } from "./support/peers.ts";

interface ContainerStatus {
  readonly name: string;
  readonly containerID: string;
  readonly restartCount: number;
  readonly ready: boolean;
}

describe("a user kills a container", () => {
  let peers: Peers;
  before(async () => {
    peers = await startPeers("kill-alley", []);
    const { peerImage: image } = await storyCluster();
    const container = { image, imagePullPolicy: "IfNotPresent", command: ["sleep", "600"] };
    await peers.apply(
      ...["cart", "store"].map((app) => ({
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: app, namespace: peers.namespace, labels: { app } },
        spec: { terminationGracePeriodSeconds: 0, containers: ["app", "proxy"].map((name) => ({ name, ...container })) },
      })),
    );
    for (const pod of ["cart", "store"]) await peers.waitFor(`pod/${pod}`, "Ready");
  });
  after(() => peers.remove());

  const statuses = async (pod: string): Promise<ReadonlyMap<string, ContainerStatus>> => {
    const found = JSON.parse(await peers.jsonpath(`pod/${pod}`, "{.status.containerStatuses}")) as readonly ContainerStatus[];
    return new Map(found.map((status) => [status.name, status]));
  };
  const idsOf = async (pod: string): Promise<Readonly<Record<string, string>>> =>
    Object.fromEntries([...(await statuses(pod)).values()].map(({ name, containerID }) => [name, containerID]));
  const kill = (name: string, annotations: Readonly<Record<string, string>> = {}): object => ({
    apiVersion: "chaos-mesh.org/v1alpha1",
    kind: "PodChaos",
    metadata: { name, namespace: peers.namespace, annotations },
    spec: { action: "container-kill", mode: "all", containerNames: ["app"], selector: { labelSelectors: { app: "cart" } } },
  });

  // Rows P5 and P6 of Chaos Mesh's own tests.
  it("sees exactly that one start again, once, and is not killed again by a pause that ends", async () => {
    const [cart, store] = [await idsOf("cart"), await idsOf("store")];
    await peers.apply(kill("kill-app"));
    await peers.waitFor("podchaos/kill-app", "AllInjected");
    const runsAgain = async (): Promise<boolean | string> => {
      const app = (await statuses("cart")).get("app");
      return (app?.containerID !== cart["app"] && app?.ready === true && app.restartCount === 1) || JSON.stringify(app);
    };
    await waitUntil("the container runs again under another id", runsAgain, { timeoutMs: 40_000 });
    const again = await idsOf("cart");
    assert.equal(again["proxy"], cart["proxy"]);
    assert.deepEqual(await idsOf("store"), store);
    const reason = await peers.jsonpath("pod/cart", "{.status.containerStatuses[?(@.name=='app')].lastState.terminated.exitCode}");
    assert.equal(reason, "137");

    const pause = async (value: string): Promise<unknown> =>
      peers.kubectl(["annotate", "--overwrite", "podchaos/kill-app", "-n", peers.namespace, `experiment.chaos-mesh.org/pause=${value}`]);
    await pause("true");
    await peers.pause(3_000);
    await pause("false");
    await peers.pause(5_000);
    assert.equal(await peers.jsonpath("podchaos/kill-app", "{.status.experiment.desiredPhase}"), "Run");
    assert.deepEqual(await idsOf("cart"), again);
    const record = JSON.parse(await peers.jsonpath("podchaos/kill-app", "{.status.experiment.containerRecords[0]}")) as object;
    assert.deepEqual(
      { id: "kill-alley/cart/app", phase: "Injected", containerID: cart["app"] },
      Object.fromEntries(Object.entries(record).filter(([key]) => ["id", "phase", "containerID"].includes(key))),
    );
    await peers.deleteExperiments();
  });

  it("is told at once of a container that is not there, and which ones are", async () => {
    await peers.apply({
      apiVersion: "chaos-mesh.org/v1alpha1",
      kind: "PodChaos",
      metadata: { name: "kill-typo", namespace: peers.namespace },
      spec: { action: "container-kill", mode: "all", containerNames: ["ap"], selector: { labelSelectors: { app: "cart" } } },
    });
    const skipped = async (): Promise<boolean | string> => {
      const found = await peers.jsonpath("podchaos/kill-typo", "{.status.skipped[0].reason}: {.status.skipped[0].message}");
      return found === "NoContainer: The pod has no container ap. It has app and proxy." || found;
    };
    await waitUntil("the status says so", skipped, { timeoutMs: 20_000 });
    await peers.deleteExperiments();
  });
});

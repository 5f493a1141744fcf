import assert from "node:assert/strict";
import { waitUntil } from "../../lab/wait-until.ts";
import { storyCluster } from "./support/cluster.ts";
import { type Peers, startPeers } from "./support/peers.ts";
import { namespace as namespaceManifests, networkChaos, peerPod } from "./support/pods.ts";

describe("opting in", () => {
  let peers: Peers;
  let image: string;
  before(async () => {
    peers = await startPeers("opt-in-street", ["a"]);
    image = (await storyCluster()).peerImage;
  });
  after(() => peers.remove());

  const isReady = (name: string): Promise<void> => peers.waitFor(`pod/${name}`, "Ready");
  const sidecarsOf = (name: string): Promise<string> => peers.jsonpath(`pod/${name}`, "{.spec.initContainers[*].name}");
  const verdictOf = (name: string): Promise<string> => peers.jsonpath(`pod/${name}`, "{.metadata.annotations.squall\\.dev/injected}");

  it("starts pods that refuse root, and gives them a sidecar all the same", async () => {
    const spec = { securityContext: { runAsNonRoot: true, runAsUser: 1000 } };
    await peers.apply(peerPod({ name: "non-root", namespace: peers.namespace, image, spec }));
    await isReady("non-root");
    assert.equal(await sidecarsOf("non-root"), "squall-sidecar");
    await peers.waitForSidecars(["non-root"]);
  });

  it("keeps a Guaranteed pod Guaranteed and a BestEffort pod BestEffort", async () => {
    const resources = { requests: { cpu: "50m", memory: "96Mi" }, limits: { cpu: "50m", memory: "96Mi" } };
    await peers.apply(peerPod({ name: "guaranteed", namespace: peers.namespace, image, container: { resources } }));
    await isReady("guaranteed");
    assert.equal(await sidecarsOf("guaranteed"), "squall-sidecar");
    assert.equal(await peers.jsonpath("pod/guaranteed", "{.status.qosClass}"), "Guaranteed");
    assert.equal(await peers.jsonpath("pod/a", "{.status.qosClass}"), "BestEffort");
  });

  it("leaves a pod on the host's network as it came, says why, and the experiment that selects it tells so", async () => {
    const result = await peers.apply(
      peerPod({ name: "host", namespace: peers.namespace, image, spec: { hostNetwork: true }, container: { command: ["sleep", "600"] } }),
    );
    assert.match(result, /pod\/host created/);
    await isReady("host");
    assert.equal(await sidecarsOf("host"), "");
    assert.equal(await verdictOf("host"), "HostNetwork");

    await peers.apply(networkChaos({ name: "on-host", namespace: peers.namespace, from: "host", spec: { action: "partition" } }));
    const isNamed = async (): Promise<boolean | string> => {
      const { status } = await peers.experiment("on-host");
      const isSo = status?.skipped?.some(({ id, reason }) => id === `${peers.namespace}/host` && reason === "HostNetwork");
      return isSo || JSON.stringify(status);
    };
    await waitUntil("the experiment names the skipped pod", isNamed, { timeoutMs: 15_000 });
    await peers.deleteExperiments();
  });

  it("reports a labelled pod without a sidecar, and faults the others", async () => {
    // The label came after the pod was made, so nothing was injected.
    await peers.apply(peerPod({ name: "late", namespace: peers.namespace, image, isLabelled: false, labels: { group: "mixed" } }));
    await peers.apply(peerPod({ name: "ready", namespace: peers.namespace, image, labels: { group: "mixed" } }));
    await Promise.all([isReady("late"), isReady("ready")]);
    await peers.kubectl(["label", "pod", "late", "-n", peers.namespace, "squall.dev/inject=enabled"]);
    const spec = { action: "partition", mode: "all", selector: { labelSelectors: { group: "mixed" } } };
    await peers.applyAndWait({
      apiVersion: "chaos-mesh.org/v1alpha1",
      kind: "NetworkChaos",
      metadata: { name: "mixed", namespace: peers.namespace },
      spec,
    });
    const { status } = await peers.experiment("mixed");
    assert.deepEqual(
      status.skipped?.map(({ id, reason }) => ({ id, reason })),
      [{ id: `${peers.namespace}/late`, reason: "NotInjected" }],
    );
    assert.deepEqual(
      status.experiment.containerRecords.map(({ id }) => id),
      [`${peers.namespace}/ready`],
    );
    await peers.deleteExperiments();
  });

  it("never shows the webhook a pod that did not opt in", async () => {
    const { webhookReviews } = await storyCluster();
    await peers.apply(...namespaceManifests("stranger-street", { isOptedIn: false }));
    const before = await webhookReviews("/inject");
    await peers.apply(
      peerPod({ name: "unlabelled", namespace: peers.namespace, image, isLabelled: false }),
      peerPod({ name: "labelled", namespace: "stranger-street", image }),
    );
    await isReady("unlabelled");
    assert.equal(await webhookReviews("/inject"), before);
    await peers.apply(peerPod({ name: "asked", namespace: peers.namespace, image }));
    assert.equal(await webhookReviews("/inject"), before + 1, "the counter does not count");
    assert.equal(await sidecarsOf("unlabelled"), "");
    await peers.kubectl(["delete", "namespace", "stranger-street", "--wait=false"]);
  });

  it("starts pods without a sidecar while no node has the image", async () => {
    const { setSidecarImage } = await storyCluster();
    await setSidecarImage("squall:no-such-version");
    try {
      await peers.apply(peerPod({ name: "no-image", namespace: peers.namespace, image }));
      await isReady("no-image");
      assert.equal(await sidecarsOf("no-image"), "");
      assert.equal(await verdictOf("no-image"), "ImageNotReady");
    } finally {
      await setSidecarImage(undefined);
    }
  });

  it("keeps API-server tokens out of the sidecar", async () => {
    const listing = await peers.kubectl([
      "exec",
      "-n",
      peers.namespace,
      "a",
      "-c",
      "squall-sidecar",
      "--",
      "ls",
      "-A",
      "/var/run/secrets/kubernetes.io/serviceaccount",
    ]);
    assert.equal(listing.trim(), "");
  });

  it("lets nobody but the controller talk to a sidecar", async () => {
    await peers.apply(peerPod({ name: "stranger", namespace: peers.namespace, image, isLabelled: false }));
    await isReady("stranger");
    // Speaks HTTP/2 over TLS, as gRPC does, without a client certificate.
    const script = `
      const session = require("node:http2").connect("https://${peers.ip("a")}:9445", { rejectUnauthorized: false });
      const end = (text) => { console.log(text); process.exit(0); };
      session.on("error", (error) => end("refused: " + error.code));
      const call = session.request({ ":method": "POST", ":path": "/squall.agent.v1.Agent/Apply", "content-type": "application/grpc" });
      call.on("error", (error) => end("refused: " + error.code));
      call.on("response", (headers) => end("answered " + JSON.stringify(headers)));
      call.end();
      setTimeout(() => end("silent"), 3000);`;
    const heard = await peers.kubectl(["exec", "-n", peers.namespace, "stranger", "--", "node", "-e", script]);
    assert.match(heard, /^refused: ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED/);
  });
});

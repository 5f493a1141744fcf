import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { waitUntil } from "../../lab/wait-until.ts";
import { processesOf, scaleTo, storyCluster } from "./support/cluster.ts";
import { signalAll } from "./support/node-processes.ts";
import { type Peers, startPeers } from "./support/peers.ts";
import { networkChaos, peerPod } from "./support/pods.ts";

/** What kubectl itself may take, beside the API server. */
const KUBECTL_MS = 1_500;
/** timeoutSeconds of the injector's configuration. */
const WEBHOOK_TIMEOUT_MS = 2_000;

describe("no webhook answers", () => {
  let peers: Peers;
  let peerImage: string;
  before(async () => {
    peers = await startPeers("unanswered-street", ["a"], { labelsOf: () => ({ group: "all" }) });
    ({ peerImage } = await storyCluster());
  });
  after(() => peers.remove());

  const labelled = (name: string): object => peerPod({ name, namespace: peers.namespace, image: peerImage, labels: { group: "all" } });
  const cut = (name: string): object =>
    networkChaos({
      name,
      namespace: peers.namespace,
      annotations: { "squall.dev/follow": "true" },
      from: "",
      spec: { action: "partition", externalTargets: ["203.0.113.1"], selector: { labelSelectors: { group: "all" } } },
    });
  const sidecarsOf = (name: string): Promise<string> => peers.jsonpath(`pod/${name}`, "{.spec.initContainers[*].name}");

  async function skippedOf(experiment: string): Promise<readonly string[]> {
    const { skipped = [] } = (await peers.experiment(experiment)).status;
    return skipped.map(({ id, reason }) => `${id} ${reason}`);
  }

  async function doctor(): Promise<string> {
    const { kubeconfig } = await storyCluster();
    const parameters = ["cli/main.ts", "--kubeconfig", kubeconfig, "-n", peers.namespace, "doctor"];
    return (await promisify(execFile)(process.execPath, parameters)).stdout;
  }

  /** Makes the pod; how long that took, in ms. */
  async function make(pod: object): Promise<number> {
    const startedAt = performance.now();
    await peers.apply(pod);
    return performance.now() - startedAt;
  }

  /** The endpoints of the webhook's Service take a moment to reach the node from where the API server calls. */
  async function webhookAnswers(): Promise<void> {
    const isAdmitted = async (): Promise<boolean | string> => {
      const dryRun = ["apply", "--dry-run=server", "-f", "-"];
      const { code, stderr } = await peers.kubectl.attempt(dryRun, { stdin: JSON.stringify(cut("probe")) });
      return code === 0 || stderr;
    };
    await waitUntil("a webhook answers", isAdmitted, { timeoutMs: 30_000 });
  }

  it("as all are gone: pods start at once without a sidecar, doctor and experiments say so, and what is new is refused", async () => {
    await peers.applyAndWait(cut("earlier"));
    await scaleTo(0, "webhook");
    try {
      const tookMs = await make(labelled("bare"));
      assert.ok(tookMs < KUBECTL_MS, `${tookMs} ms`);
      await peers.waitFor("pod/bare", "Ready");
      assert.equal(await sidecarsOf("bare"), "");

      const text = await doctor();
      assert.match(text, /^No webhook is ready: until one is, new pods get no sidecar, and experiments are refused\./);
      assert.match(text, /^bare +none +.*while no webhook answered/m);
      assert.match(text, /^a +0\.\d+\.\d+ .*1 fault in force/m);
      assert.match(text, /kubectl rollout restart deployment -n unanswered-street/);

      const refused = await peers.kubectl.attempt(["apply", "-f", "-"], { stdin: JSON.stringify(cut("refused")) });
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /failed calling webhook "mutate\.squall\.dev": failed to call webhook: /);
      const { stdout } = await peers.kubectl.attempt(["get", "networkchaos", "-n", peers.namespace, "-o", "name"]);
      assert.equal(stdout.trim(), "networkchaos.chaos-mesh.org/earlier");

      const isListed = async (): Promise<boolean | string> => {
        const skipped = await skippedOf("earlier");
        return skipped.includes("unanswered-street/bare NotInjected") || skipped.join(", ");
      };
      await waitUntil("the experiment that runs lists the new pod", isListed, { timeoutMs: 15_000 });
      await peers.deleteExperiments(); // a deletion is never held up
      assert.doesNotMatch(await doctor(), /in force/);
    } finally {
      await scaleTo(2, "webhook");
    }
  });

  it("and once they are back, pods get their sidecars, and the pod of meanwhile is skipped until it is made anew", async () => {
    await webhookAnswers();
    await peers.apply(labelled("later"));
    await peers.waitForSidecars(["later"]);
    await peers.applyAndWait(cut("later"));
    assert.deepEqual(await skippedOf("later"), ["unanswered-street/bare NotInjected"]);
    assert.doesNotMatch(await doctor(), /No webhook is ready/);

    await peers.kubectl(["delete", "pod", "bare", "-n", peers.namespace, "--timeout=30s"]);
    await peers.apply(labelled("bare"));
    await peers.waitForSidecars(["bare"]);
    const isFaulted = async (): Promise<boolean | string> => {
      const { status } = await peers.experiment("later");
      const isSo = status.experiment.containerRecords.some(({ id, phase }) => id === "unanswered-street/bare" && phase === "Injected");
      return isSo || JSON.stringify(status);
    };
    await waitUntil("the pod that was made anew is faulted", isFaulted, { timeoutMs: 15_000 });
    assert.deepEqual(await skippedOf("later"), []);
    await peers.deleteExperiments();
  });

  it("as all are frozen: a pod waits no longer than the configuration's two seconds", async () => {
    await webhookAnswers();
    const frozen = await processesOf("webhook");
    assert.equal(frozen.length, 2);
    signalAll(frozen, "SIGSTOP");
    try {
      const tookMs = await make(labelled("patient"));
      assert.ok(tookMs >= WEBHOOK_TIMEOUT_MS && tookMs < WEBHOOK_TIMEOUT_MS + KUBECTL_MS, `${tookMs} ms`);
      assert.equal(await sidecarsOf("patient"), "");
    } finally {
      signalAll(frozen, "SIGCONT");
    }
    await peers.waitFor("pod/patient", "Ready");
    await webhookAnswers();
  });
});

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { waitUntil } from "../../lab/wait-until.ts";
import { storyCluster } from "./support/cluster.ts";
import { type Peers, startPeers } from "./support/peers.ts";

const CONTROLLER = "system:serviceaccount:squall-system:squall-controller";
const MOST_WRITES = 8;

interface AuditEvent {
  readonly stage: string;
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly objectRef?: { readonly resource: string; readonly subresource?: string; readonly name?: string; readonly namespace?: string };
}

describe("what one experiment costs the API server", () => {
  let peers: Peers;
  before(async function () {
    this.timeout(240_000);
    peers = await startPeers("busy-street", []);
    const { peerImage } = await storyCluster();
    const container = { name: "sleeper", image: peerImage, imagePullPolicy: "IfNotPresent", command: ["sleep", "600"] };
    const deployment = (name: string, replicas: number): object => ({
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name, namespace: peers.namespace },
      spec: {
        replicas,
        selector: { matchLabels: { app: name } },
        template: {
          metadata: { labels: { app: name, "squall.dev/inject": "enabled" } },
          spec: { terminationGracePeriodSeconds: 0, containers: [container] },
        },
      },
    });
    await peers.apply(deployment("one", 1), deployment("twenty", 20));
    await peers.kubectl(["rollout", "status", "deployment/one", "deployment/twenty", "-n", peers.namespace, "--timeout=200s"], {
      timeoutMs: 210_000,
    });
  });
  after(() => peers.remove());

  /** Writes of the controller for an experiment from its creation to its end, as the audit log has them: `patch status`, `create event`, … */
  async function writesFor(app: string, name = `cut-${app}`): Promise<readonly string[]> {
    const spec = {
      action: "partition",
      mode: "all",
      selector: { labelSelectors: { app } },
      externalTargets: ["203.0.113.0/24"],
      duration: "12s",
    };
    await peers.applyAndWait({
      apiVersion: "chaos-mesh.org/v1alpha1",
      kind: "NetworkChaos",
      metadata: { name, namespace: peers.namespace },
      spec,
    });
    await peers.waitFor(`networkchaos/${name}`, "AllRecovered");
    await peers.deleteExperiment(name);
    await waitUntil(
      "it is gone",
      async () => (await peers.kubectl.attempt(["get", "networkchaos", name, "-n", peers.namespace])).code !== 0,
      { timeoutMs: 10_000 },
    );
    await peers.pause(1_000);
    const { auditLog } = await storyCluster();
    return (await readFile(auditLog, "utf8")).split("\n").flatMap((line) => {
      if (!line.includes(name) || !line.includes(CONTROLLER)) return [];
      const { stage, verb, user, objectRef } = JSON.parse(line) as AuditEvent;
      if (stage !== "ResponseComplete" || user.username !== CONTROLLER || !["create", "update", "patch", "delete"].includes(verb))
        return [];
      const isAbout = objectRef?.namespace === peers.namespace && (objectRef.name === name || objectRef.name?.startsWith(`${name}.`));
      return isAbout ? [`${verb} ${objectRef.subresource ?? objectRef.resource}`] : [];
    });
  }

  it(`is at most ${MOST_WRITES} writes of the controller, the same for 1 pod and for 20`, async () => {
    // A sidecar loads what serves calls at its first one; twenty at once on two cores take longer than the 2 s in which a change is one write.
    await writesFor("twenty", "first-contact");
    const one = await writesFor("one");
    const twenty = await writesFor("twenty");
    assert.ok(one.length > 2 && one.length <= MOST_WRITES, `${one.length} writes for one pod: ${one.join(", ")}`);
    assert.deepEqual(twenty.toSorted(), one.toSorted());
  });
});

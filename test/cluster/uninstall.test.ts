import assert from "node:assert/strict";
import { waitUntil } from "../../lab/wait-until.ts";
import { installedAgain, storyCluster } from "./support/cluster.ts";
import { type Peers, startPeers } from "./support/peers.ts";

const kinds = [
  ["clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,customresourcedefinitions"],
  ["mutatingwebhookconfigurations,validatingwebhookconfigurations"],
  ["pods,deployments,daemonsets,replicasets,services,endpointslices,serviceaccounts,roles,rolebindings", "-n", "squall-system"],
  ["secrets,configmaps,leases,poddisruptionbudgets,networkpolicies", "-A"],
] as const;

describe("a user uninstalls in the middle of an experiment", function () {
  this.timeout(300_000);
  let peers: Peers;
  let clean: string;
  const delay = {
    apiVersion: "chaos-mesh.org/v1alpha1",
    kind: "NetworkChaos",
    metadata: { name: "slow", namespace: "leaving-street" },
    spec: {
      action: "delay",
      mode: "one",
      selector: { labelSelectors: { peer: "a" } },
      delay: { latency: "120ms" },
      target: { mode: "one", selector: { labelSelectors: { peer: "b" } } },
    },
  };
  const roundTrip = async (): Promise<number> => (await peers.survey("a", [peers.ip("b")]))[0]?.roundTripMs ?? Number.NaN;

  before(async () => {
    peers = await startPeers("leaving-street", ["a", "b"]);
    const { peerImage: image } = await storyCluster();
    await peers.apply({
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name: "store",
        namespace: peers.namespace,
        labels: { "squall.dev/inject": "enabled" },
        annotations: { "squall.dev/volumes": "data" },
      },
      spec: {
        terminationGracePeriodSeconds: 1,
        containers: [
          {
            name: "store",
            image,
            imagePullPolicy: "IfNotPresent",
            command: ["sleep", "3600"],
            securityContext: { runAsUser: 0 },
            volumeMounts: [{ name: "data", mountPath: "/data" }],
          },
        ],
        volumes: [{ name: "data", emptyDir: {} }],
      },
    });
    await peers.waitFor("pod/store", "Ready");
    clean = await peers.dump("a");
    await peers.applyAndWait(delay);
  });
  after(async () => {
    await installedAgain();
    await peers.remove();
  });

  /** What kubectl finds that bears our name, or that of an experiment. */
  async function whatIsLeft(): Promise<readonly string[]> {
    const found: string[] = [];
    for (const [names, ...flags] of kinds) found.push(...(await peers.kubectl(["get", names, "-o", "name", ...flags])).split("\n"));
    return found.filter((line) => /squall|chaos-mesh/.test(line) && !/clusterrole\.\S+\/(?:view|edit|admin)$/.test(line));
  }

  it("by kubectl delete -k, which ends within a minute and leaves nothing", async () => {
    assert.ok((await roundTrip()) > 100);
    const started = performance.now();
    await peers.kubectl(["delete", "-k", "manifests", "--ignore-not-found", "--timeout=90s"], { timeoutMs: 100_000 });
    const seconds = (performance.now() - started) / 1000;
    process.stdout.write(`      kubectl delete -k took ${seconds.toFixed(1)} s\n`);
    assert.ok(seconds < 60, `${seconds} s`);
    const isNothingLeft = async (): Promise<boolean | string> => {
      const left = await whatIsLeft();
      return left.length === 0 || left.join(" ");
    };
    await waitUntil("nothing of Squall is left", isNothingLeft, { timeoutMs: 60_000 });
    const { metadata } = JSON.parse(await peers.kubectl(["get", "namespace", peers.namespace, "-o", "json"])) as {
      readonly metadata: { readonly annotations?: Readonly<Record<string, string>> };
    };
    assert.equal(metadata.annotations?.["squall.dev/injection-verdict"], undefined);
    assert.equal(await peers.dump("a"), clean);
    assert.ok((await roundTrip()) < 50);
  });

  it("and what runs behind FUSE goes on, and its pod ends without a daemon", async () => {
    const work =
      'fs.writeFileSync("/data/file", "text"); console.log(fs.readFileSync("/data/file", "utf8"), fs.statfsSync("/data").type.toString(16))';
    const told = await peers.kubectl(["exec", "-n", peers.namespace, "store", "-c", "store", "--", "node", "-e", work]);
    assert.equal(told.trim(), "text 65735546");
    await peers.kubectl(["delete", "pod", "store", "-n", peers.namespace, "--timeout=40s"], { timeoutMs: 50_000 });
  });

  it("and installs it again: pods of before and new ones are faulted", async () => {
    await installedAgain();
    const { kubectl } = await storyCluster();
    await kubectl(["wait", "-n", peers.namespace, "--for=condition=Ready", "--timeout=60s", "pod/a", "pod/b"]);
    await peers.apply(delay);
    // the sidecar of before sees the new CA when the kubelet has it, which takes about a minute
    const isFaulted = async (): Promise<boolean | string> => {
      const conditions = (await peers.experiment("slow")).status?.conditions ?? []; // the controller has just begun
      return conditions.some(({ type, status }) => type === "AllInjected" && status === "True") || JSON.stringify(conditions);
    };
    await waitUntil("the sidecar of before has enrolled anew and is faulted", isFaulted, { timeoutMs: 200_000 });
    assert.ok((await roundTrip()) > 100);
    await peers.deleteExperiments();
    assert.equal(await peers.dump("a"), clean);
  });
});

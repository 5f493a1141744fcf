import assert from "node:assert/strict";
import type { NetworkFault } from "../../proto/gen/faults.ts";
import type { Fault, Passport } from "../../proto/gen/agent.ts";
import { pods } from "../../kube/resources.ts";
import { ExperimentCluster } from "../support/experiment-cluster.ts";

const bare = { hasSidecar: false } as const;
const networkOf = ({ family }: Fault | undefined = assert.fail("there is no fault")): NetworkFault =>
  family?.$case === "network" ? family.value : assert.fail("the fault is none of the network");
const passport = (over: Partial<Passport>): Passport => ({
  engines: [],
  missing: [],
  iptables: "",
  families: [],
  devices: [],
  volumes: [],
  hasIfb: false,
  hasMeshRedirect: false,
  hasBpf: false,
  familiesOfFaults: ["network"],
  ...over,
});

describe("pods without a sidecar, where the namespace allows late join", () => {
  let cluster: ExperimentCluster;
  beforeEach(async () => {
    cluster = new ExperimentCluster();
    await cluster.start();
    cluster.addNamespace("shop", { lateJoin: true });
  });
  afterEach(() => cluster.stop());

  it("are faulted by the daemon of their node, which is told of their network; those with a sidecar by it", async () => {
    const daemons = [cluster.addDaemon("node-1"), cluster.addDaemon("node-2")];
    const uid = cluster.addPod("a", { ...bare, probePort: 8080, ip: "10.244.0.1" });
    cluster.addPod("b", { ...bare, node: "node-2", ip: "10.244.0.2" });
    const injected = cluster.addPod("c", { ip: "10.244.0.3" });
    const { metadata } = await cluster.partition("cut");
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected", "shop/b: Injected", "shop/c: Injected"]);
    const [fault] = daemons[0]?.faults ?? [];
    assert.equal(fault?.id, `${metadata.uid}/./${uid}`);
    assert.deepEqual(fault.target, {
      podUid: uid,
      namespace: "shop",
      pod: "a",
      container: "",
      network: { addresses: ["10.244.0.1"], probePorts: [8080] },
    });
    assert.deepEqual(
      daemons.map(({ faults }) => faults.length),
      [1, 1],
    );
    assert.deepEqual(
      cluster.agents.of(injected).faults.map(({ id, target }) => [id, target]),
      [[`${metadata.uid}/.`, undefined]],
    );
    await cluster.delete("cut");
    await cluster.pass(3_000);
    assert.deepEqual(
      daemons.flatMap(({ inForce }) => inForce),
      [],
    );
    assert.equal(cluster.find("cut"), undefined);
  });

  it("carry their part as the other side of a partition, and none where their node has no daemon", async () => {
    const daemon = cluster.addDaemon("node-1");
    cluster.addPod("a", { ip: "10.244.0.1" });
    cluster.addPod("db", { ...bare, labels: { app: "db" }, ip: "10.244.0.2" });
    const elsewhere = cluster.addPod("db-2", { ...bare, labels: { app: "db" }, ip: "10.244.0.3", node: "node-2" });
    const target = { mode: "all", selector: { namespaces: ["shop"], labelSelectors: { app: "db" } } };
    await cluster.partition("cut", { direction: "both", target });
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected", "target shop/db: Injected", "target shop/db-2: Injected"]);
    assert.deepEqual(
      networkOf(daemon.faults[0]).rules.map(({ peers }) => peers?.networks),
      [["10.244.0.1/32"], ["10.244.0.1/32"]],
    );
    assert.equal(
      daemon.faults.some(({ target: of }) => of?.podUid === elsewhere),
      false,
    );
    await cluster.delete("cut");
    await cluster.pass(3_000);
    assert.deepEqual([daemon.inForce, cluster.find("cut")], [[], undefined]);
  });

  it("are left out where they share the node's network, where nothing can fault them there, and where nobody allowed it", async () => {
    cluster.addDaemon("node-1");
    const old = cluster.addDaemon("node-2");
    cluster.experiments.learnPassport(old.uid, passport({ familiesOfFaults: ["time"], missing: ["network: There is no iptables."] }));
    cluster.addNamespace("plain");
    cluster.addNamespace("kube-system", { lateJoin: true });
    cluster.addPod("host", { ...bare, hostNetwork: true });
    cluster.addPod("no-iptables", { ...bare, node: "node-2" });
    cluster.addPod("no-daemon", { ...bare, node: "node-3" });
    cluster.addPod("dns", { ...bare, namespace: "kube-system" });
    cluster.addPod("a", { ...bare, namespace: "plain" });
    await cluster.partition("cut", { selector: { namespaces: ["shop", "plain", "kube-system"] } });
    const skipped = cluster.experiment("cut").status.skipped ?? [];
    assert.deepEqual(
      skipped.map(({ id, reason }) => `${id}: ${reason}`),
      [
        "kube-system/dns: NotInjected",
        "plain/a: NotInjected",
        "shop/host: HostNetwork",
        "shop/no-daemon: NoDaemon",
        "shop/no-iptables: CannotCarry",
      ],
    );
    assert.match(
      skipped[1]?.message ?? "",
      /For pods that nobody can restart: kubectl label namespace plain squall\.dev\/late-join=enabled$/,
    );
    assert.equal(skipped[4]?.message, "The pod's node cannot carry out network faults. There is no iptables.");
  });

  it("join a running experiment that follows, before they have an address", async () => {
    const daemon = cluster.addDaemon();
    cluster.addPod("a", bare);
    await cluster.partition("cut", {}, { "squall.dev/follow": "true" });
    const uid = cluster.addPod("b", { ...bare, phase: "Pending", ip: undefined });
    await cluster.pass(1_000);
    assert.deepEqual(
      daemon.faults.map(({ target }) => target?.pod),
      ["a", "b"],
    );
    cluster.addPod("b", { ...bare, uid, ip: "10.244.0.9" });
    await cluster.pass(1_000);
    assert.deepEqual(daemon.faults[1]?.target?.network?.addresses, ["10.244.0.9"]);
    assert.deepEqual(cluster.records("cut"), ["shop/a: Injected", "shop/b: Injected"]);
  });

  it("are let go by the daemon when they are no more, and stay faulted through a change of leader", async () => {
    const daemon = cluster.addDaemon();
    cluster.addPod("a", bare);
    cluster.addPod("b", bare);
    await cluster.partition("cut");
    await cluster.takeOver();
    assert.ok(daemon.accepted.every(({ faults }) => faults.length === 2));
    cluster.kube.remove(pods, { namespace: "shop", name: "b" });
    await cluster.pass(1_000);
    assert.deepEqual(
      daemon.faults.map(({ target }) => target?.pod),
      ["a"],
    );
  });

  it("are not faulted again after a pause when the namespace does not allow it any more", async () => {
    const daemon = cluster.addDaemon();
    cluster.addPod("a", bare);
    await cluster.partition("cut");
    await cluster.annotate("cut", { "experiment.chaos-mesh.org/pause": "true" });
    await cluster.pass(1_000);
    assert.deepEqual(daemon.inForce, []);
    cluster.addNamespace("shop");
    await cluster.annotate("cut", { "experiment.chaos-mesh.org/pause": null });
    assert.deepEqual(daemon.inForce, []);
    assert.match(
      cluster.condition("cut", "AllInjected").message ?? "",
      /^The namespace shop does not allow late join any more .*late-join=enabled$/,
    );
  });
});

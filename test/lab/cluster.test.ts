import assert from "node:assert/strict";
import { type ClusterShape, describeCluster, plainShape, planJoining, type RunningCluster } from "../../lab/cluster.ts";
import { nodes } from "../../lab/node/layout.ts";

const running = ({ ipFamilies, hasUml }: ClusterShape): RunningCluster => ({
  kubeconfig: "/state/kubeconfig",
  auditLog: "/state/audit.log",
  logs: "/state/log",
  kubectl: "/cache/kubectl",
  since: new Date(Date.now() - 200_000),
  ipFamilies,
  nodes: (hasUml ? [nodes.lab, nodes.uml] : [nodes.lab]).map(({ name }) => ({ name, requests: `/state/${name}` })),
  processes: [{ pid: 7, program: "etcd" }],
});

describe("describeCluster", () => {
  it("says what to do about a broken cluster and where there is none", () => {
    assert.match(describeCluster({ is: "broken", why: "kubelet not running" }), /kubelet not running.*lab -- up.*lab -- down/);
    assert.match(describeCluster({ is: "down" }), /lab -- up/);
  });

  it("names every node with its kernel, and the families of addresses", () => {
    const text = describeCluster({ is: "running", cluster: running({ ipFamilies: "dual", hasUml: true }) });
    assert.match(text, /^The cluster has been running for 3 min 20 s\.$/m);
    assert.match(text, /node +lab, on this machine's kernel, Ready\n +node +uml, on a kernel of its own in User-Mode Linux, Ready\n/);
    assert.match(text, /addresses +IPv4 and IPv6\n/);
  });
});

describe("planJoining", () => {
  // What runs, what is wanted, what comes of it.
  const table: readonly (readonly [there: ClusterShape, wanted: ClusterShape, outcome: "nothing" | "join-uml"])[] = [
    [plainShape, plainShape, "nothing"],
    [plainShape, { ...plainShape, hasUml: true }, "join-uml"],
    [{ ...plainShape, hasUml: true }, { ...plainShape, hasUml: true }, "nothing"],
    [{ ipFamilies: "dual", hasUml: true }, plainShape, "nothing"],
    [{ ipFamilies: "dual", hasUml: false }, { ipFamilies: "dual", hasUml: true }, "join-uml"],
  ];
  for (const [there, wanted, outcome] of table) {
    it(`is ${outcome} where ${JSON.stringify(there)} runs and ${JSON.stringify(wanted)} is wanted`, () => {
      assert.equal(planJoining(running(there), wanted), outcome);
    });
  }

  it("says what to do where IPv6 is wanted of a cluster without", () => {
    assert.throws(
      () => planJoining(running(plainShape), { ipFamilies: "dual", hasUml: true }),
      /IPv4 only.*\n.*lab -- down && npm run lab -- up --dual-stack --with-uml$/,
    );
  });
});

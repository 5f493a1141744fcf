import assert from "node:assert/strict";
import { apiServerComponent, type Binaries, nodeComponents } from "../../../lab/node/components.ts";
import type { IpFamilies } from "../../../lab/node/addresses.ts";
import { type NodeName, nodes } from "../../../lab/node/layout.ts";
import { nodePrograms } from "../../../lab/programs.ts";

const binaries = Object.fromEntries(nodePrograms.map((name) => [name, `/bin/${name}`])) as Binaries;
const planOf = (ipFamilies: IpFamilies) => ({ state: "/state", binaries, ipFamilies });

/** Values of a flag in the command line of a component of that node. */
function flag(node: NodeName, ipFamilies: IpFamilies, component: string, name: string): string | undefined {
  const found = [apiServerComponent(planOf(ipFamilies)), ...nodeComponents(planOf(ipFamilies), nodes[node])].find(
    (one) => one.name === component,
  );
  return found?.argv.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3);
}

describe("the components of a node", () => {
  it("know IPv4 only, unless the cluster has both families", () => {
    assert.equal(flag("lab", "ipv4", "kube-apiserver", "service-cluster-ip-range"), "10.96.0.0/16");
    assert.equal(flag("lab", "ipv4", "kubelet", "node-ip"), "10.250.0.2");
    assert.equal(flag("lab", "ipv4", "kube-proxy", "cluster-cidr"), "10.244.0.0/16");
  });

  it("agree about both families where it has", () => {
    assert.equal(flag("lab", "dual", "kube-apiserver", "service-cluster-ip-range"), "10.96.0.0/16,fd5c:0:0:96::/112");
    assert.equal(flag("uml", "dual", "kubelet", "node-ip"), "10.251.0.2,fd5c:0:0:2510::2");
    assert.equal(flag("uml", "dual", "kube-proxy", "cluster-cidr"), "10.244.0.0/16,fd5c:0:0:2440::/60");
  });

  it("tell nodes apart by name, credentials and the label that stories pick them by", () => {
    assert.equal(flag("lab", "ipv4", "kubelet", "node-labels"), "squall.dev/lab-kernel=machine");
    assert.equal(flag("uml", "ipv4", "kubelet", "node-labels"), "squall.dev/lab-kernel=uml");
    assert.equal(flag("uml", "ipv4", "kubelet", "kubeconfig"), "/state/pki/kubelet-uml.kubeconfig");
    assert.equal(flag("uml", "ipv4", "kube-proxy", "hostname-override"), "uml");
  });
});

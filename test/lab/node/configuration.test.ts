import assert from "node:assert/strict";
import { join } from "node:path";
import { parse } from "yaml";
import { apiServerArguments } from "../../../lab/control-plane.ts";
import {
  dnsObjects,
  renderCniConfig,
  renderContainerdConfig,
  renderCorefile,
  renderKubeletConfig,
} from "../../../lab/node/configuration.ts";
import { DNS_SERVICE_ADDRESS } from "../../../lab/node/addresses.ts";
import { controlPlaneOf, lab, type NodeName, nodeLayout, nodes, stateLayout } from "../../../lab/node/layout.ts";

const kubeletConfig = (name: NodeName): Readonly<Record<string, unknown>> =>
  parse(renderKubeletConfig(nodes[name], { ca: "/ca", certificate: "/crt", key: "/key" })) as Readonly<Record<string, unknown>>;

describe("the node's configuration", () => {
  it("has containerd start sandboxes without CAP_SYS_RESOURCE, from the image that the lab makes", () => {
    const text = renderContainerdConfig({ cni: "/state/cni" });
    assert.match(text, /^ {2}restrict_oom_score_adj = true$/m);
    assert.match(text, new RegExp(`sandbox_image = "${lab.pauseImage}"`));
    assert.match(text, /conf_dir = "\/state\/cni"/);
  });

  it("gives pods addresses of the node's ranges and a gateway on their bridge, and hides no pod behind its node", () => {
    const bridgeOf = (text: string): object | undefined => (JSON.parse(text) as { plugins: readonly object[] }).plugins[0];
    const bridge = { type: "bridge", bridge: "lab0", isGateway: true, hairpinMode: true };
    assert.deepEqual(bridgeOf(renderCniConfig(nodes.lab, ["ipv4"])), {
      ...bridge,
      ipam: { type: "host-local", ranges: [[{ subnet: "10.244.0.0/24" }]], routes: [{ dst: "0.0.0.0/0" }] },
    });
    assert.deepEqual(bridgeOf(renderCniConfig(nodes.uml, ["ipv4", "ipv6"])), {
      ...bridge,
      ipam: {
        type: "host-local",
        ranges: [[{ subnet: "10.244.1.0/24" }], [{ subnet: "fd5c:0:0:2441::/64" }]],
        routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
      },
    });
  });

  it("keeps all pods in the lab's own cgroup and works on cgroup v1", () => {
    const config = kubeletConfig("lab");
    assert.equal(config["cgroupRoot"], `/${lab.cgroup}`);
    assert.equal(config["failCgroupV1"], false);
    assert.equal(config["containerRuntimeEndpoint"], `unix://${lab.containerdSocket}`);
    assert.deepEqual(config["clusterDNS"], [DNS_SERVICE_ADDRESS]);
  });

  it("keeps pods that do not ask for it off the slow node", () => {
    assert.deepEqual(kubeletConfig("lab")["registerWithTaints"], []);
    assert.deepEqual(kubeletConfig("uml")["registerWithTaints"], [{ key: "squall.dev/lab-kernel", value: "uml", effect: "NoSchedule" }]);
  });

  it("points the DNS Service at the address that CoreDNS binds", () => {
    assert.match(renderCorefile({ kubeconfig: "/k" }), new RegExp(`bind ${nodes.lab.ipv4.address.replaceAll(".", "\\.")}$`, "m"));
    const { items } = JSON.parse(dnsObjects()) as {
      items: readonly [{ spec: { clusterIP: string } }, { endpoints: readonly { addresses: string[] }[] }];
    };
    assert.equal(items[0].spec.clusterIP, DNS_SERVICE_ADDRESS);
    assert.deepEqual(items[1].endpoints, [{ addresses: [nodes.lab.ipv4.address] }]);
  });

  it("keeps every file of the cluster below its state folder, so that removing it removes all", () => {
    const paths = [
      ...Object.values(stateLayout("/state")),
      ...Object.values(nodes).flatMap((node) => Object.values(nodeLayout("/state", node))),
      ...Object.values(controlPlaneOf("/state", "ipv4")).filter((value) => String(value).startsWith("/")),
    ];
    assert.deepEqual(
      paths.filter((path) => !String(path).startsWith(join("/state", "/"))),
      [],
    );
  });
});

describe("apiServerArguments", () => {
  it("switches RBAC, service account tokens and the audit log on", () => {
    const argv = apiServerArguments(controlPlaneOf("/state", "ipv4"));
    assert.ok(argv.includes("--authorization-mode=Node,RBAC"));
    assert.ok(argv.includes("--service-account-signing-key-file=/state/pki/tokens.key"));
    assert.ok(argv.includes("--audit-log-path=/state/audit.log"));
  });
});

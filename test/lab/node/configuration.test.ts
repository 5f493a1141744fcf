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
import { controlPlaneOf, node, stateLayout } from "../../../lab/node/layout.ts";

describe("the node's configuration", () => {
  it("has containerd start sandboxes without CAP_SYS_RESOURCE, from the image that the lab makes", () => {
    const text = renderContainerdConfig({ cni: "/state/cni" });
    assert.match(text, /^ {2}restrict_oom_score_adj = true$/m);
    assert.match(text, new RegExp(`sandbox_image = "${node.pauseImage}"`));
    assert.match(text, /conf_dir = "\/state\/cni"/);
  });

  it("gives pods addresses of the node's range and a gateway on their bridge", () => {
    const config = JSON.parse(renderCniConfig()) as {
      plugins: readonly { type: string; isGateway?: boolean; ipam?: { ranges: unknown } }[];
    };
    assert.equal(config.plugins[0]?.isGateway, true);
    assert.deepEqual(config.plugins[0]?.ipam?.ranges, [[{ subnet: "10.244.0.0/24" }]]);
  });

  it("keeps all pods in the lab's own cgroup and works on cgroup v1", () => {
    const config = parse(renderKubeletConfig({ ca: "/ca", certificate: "/crt", key: "/key" })) as Readonly<Record<string, unknown>>;
    assert.equal(config["cgroupRoot"], `/${node.cgroup}`);
    assert.equal(config["failCgroupV1"], false);
    assert.equal(config["containerRuntimeEndpoint"], `unix://${node.containerdSocket}`);
    assert.deepEqual(config["clusterDNS"], [node.dnsAddress]);
  });

  it("points the DNS Service at the address that CoreDNS binds", () => {
    assert.match(renderCorefile({ kubeconfig: "/k" }), new RegExp(`bind ${node.address.replaceAll(".", "\\.")}$`, "m"));
    const { items } = JSON.parse(dnsObjects()) as {
      items: readonly [{ spec: { clusterIP: string } }, { endpoints: readonly { addresses: string[] }[] }];
    };
    assert.equal(items[0].spec.clusterIP, node.dnsAddress);
    assert.deepEqual(items[1].endpoints, [{ addresses: [node.address] }]);
  });

  it("keeps every file of the cluster below its state folder, so that removing it removes all", () => {
    const paths = [
      ...Object.values(stateLayout("/state")),
      ...Object.values(controlPlaneOf("/state")).filter((value) => String(value).startsWith("/")),
    ];
    assert.deepEqual(
      paths.filter((path) => !String(path).startsWith(join("/state", "/"))),
      [],
    );
  });
});

describe("apiServerArguments", () => {
  it("switches RBAC, service account tokens and the audit log on", () => {
    const argv = apiServerArguments(controlPlaneOf("/state"));
    assert.ok(argv.includes("--authorization-mode=Node,RBAC"));
    assert.ok(argv.includes("--service-account-signing-key-file=/state/pki/tokens.key"));
    assert.ok(argv.includes("--audit-log-path=/state/audit.log"));
  });
});

import assert from "node:assert/strict";
import { join } from "node:path";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { namespaces } from "../../kube/resources.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import type { Kubectl } from "../cluster/support/kubectl.ts";
import { startTestApiServer, type TestApiServer } from "../support/api-server.ts";
import { adminKubectl } from "./support/installation.ts";
import { chaosResource, serveKinds } from "./support/served-kinds.ts";

const shop = "guarded-shop";
const CONTROLLER = "system:serviceaccount:squall-system:squall-controller";

describe("manifests/guarded.yaml, at a real API server", () => {
  let api: TestApiServer;
  let kube: KubeConnection;
  let kubectl: Kubectl;

  before(async () => {
    api = await startTestApiServer();
    kube = connectKube({ process: "test", version: "0", kubeconfig: api.kubeconfig });
    kubectl = await adminKubectl(api);
    for (const name of ["squall-system", shop]) await kube.create(namespaces, { metadata: { name } });
    await serveKinds(kube, { NetworkChaos: "networkchaos" });
    await kube.create(chaosResource("NetworkChaos", "networkchaos"), {
      metadata: { namespace: shop, name: "cut" },
      spec: { action: "partition", mode: "all", selector: { namespaces: [shop] } },
    });
    await kubectl(["apply", "-f", join(import.meta.dirname, "../../manifests/guarded.yaml")]);
    await kubectl(["create", "clusterrolebinding", "all", "--clusterrole=cluster-admin", `--user=${CONTROLLER}`, "--user=jane"]);
  });
  after(async () => {
    await kube.close();
    await api.close();
  });

  /** A record of a target, as only the controller may make one. */
  const forge = (user: string): Promise<string> => {
    const records = [{ id: "bank/vault", selectorKey: ".", phase: "Not Injected/Wait", injectedCount: 0, recoveredCount: 0 }];
    const status = JSON.stringify({ status: { experiment: { containerRecords: records } } });
    return kubectl([
      "patch",
      "networkchaos",
      "cut",
      "-n",
      shop,
      `--as=${user}`,
      "--subresource=status",
      "--type=merge",
      `--patch=${status}`,
    ]);
  };

  it("lets nobody but the controller write the status of an experiment, whatever roles say", async () => {
    const refused = "only the controller of Squall writes the status of its objects: it believes what it finds there";
    await waitUntil(
      "the policy is in force",
      () =>
        forge("jane").then(
          (said) => said,
          (error: unknown) => String(error).includes(refused) || String(error),
        ),
      { timeoutMs: 15_000 },
    );
    assert.match(await forge(CONTROLLER), /patched/);
    await kubectl(["annotate", "networkchaos", "cut", "-n", shop, "--as=jane", "note=mine"]);
  });

  it("lets the controller change nothing of webhooks but their caBundle", async () => {
    const webhook = {
      name: "pods.squall.dev",
      clientConfig: { service: { namespace: "squall-system", name: "squall-webhook", path: "/inject", port: 443 }, caBundle: "YQ==" },
      rules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["pods"], scope: "Namespaced" }],
      objectSelector: { matchLabels: { never: "matches" } },
      failurePolicy: "Ignore",
      sideEffects: "None",
      admissionReviewVersions: ["v1"],
    };
    const configuration = {
      apiVersion: "admissionregistration.k8s.io/v1",
      kind: "MutatingWebhookConfiguration",
      metadata: { name: "squall-webhook" },
      webhooks: [webhook],
    };
    await kubectl(["apply", "-f", "-"], { stdin: JSON.stringify(configuration) });
    const change = (operation: object): Promise<string> =>
      kubectl([
        "patch",
        "mutatingwebhookconfiguration",
        "squall-webhook",
        `--as=${CONTROLLER}`,
        "--type=json",
        `--patch=${JSON.stringify([operation])}`,
      ]);
    const refused = "the controller of Squall changes only the caBundle of webhooks";
    const attempts = [
      { op: "replace", path: "/webhooks/0/rules/0/operations", value: ["*"] },
      { op: "replace", path: "/webhooks/0/objectSelector", value: {} },
      { op: "replace", path: "/webhooks/0/clientConfig", value: { url: "https://evil.example/", caBundle: "YQ==" } },
      { op: "replace", path: "/webhooks/0/clientConfig/service/name", value: "evil" },
      { op: "add", path: "/webhooks/-", value: { ...webhook, name: "more.squall.dev" } },
      { op: "add", path: "/metadata/labels", value: { a: "b" } },
    ];
    for (const attempt of attempts)
      await assert.rejects(change(attempt), (error: unknown) => String(error).includes(refused), JSON.stringify(attempt));
    assert.match(await change({ op: "replace", path: "/webhooks/0/clientConfig/caBundle", value: "Yg==" }), /patched/);
  });
});

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
});

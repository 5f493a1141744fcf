import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { planFile, renderPlan } from "../../cli/plan.ts";
import { KubeError } from "../../kube/errors.ts";
import { chaosPolicies } from "../../kube/limit-resources.ts";
import { namespaces, pods } from "../../kube/resources.ts";
import { FakeKube } from "../support/fake-kube.ts";

describe("squall plan", () => {
  let folder: string;
  let kube: FakeKube;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "squall-plan-"));
    kube = new FakeKube();
    kube.seed(namespaces, { metadata: { name: "shop", labels: { "squall.dev/inject": "enabled" } } });
    for (const [name, hasSidecar] of [
      ["web-0", true],
      ["web-1", true],
      ["web-2", false],
    ] as const)
      kube.seed(pods, {
        metadata: { name, namespace: "shop", labels: { app: "web" } },
        spec: { nodeName: "node-1", initContainers: hasSidecar ? [{ name: "squall-sidecar" }] : [] },
        status: { phase: "Running", podIP: "10.0.0.1" },
      });
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function planFileOf(text: string) {
    const file = join(folder, "experiment.yaml");
    await writeFile(file, text);
    return planFile(file, { kube, namespace: "shop", now: new Date("2026-11-25T12:00:00Z") });
  }
  const plan = async (text: string) => (await planFileOf(text)).experiments;
  const loss = (mode: string): string => `
apiVersion: chaos-mesh.org/v1alpha1
kind: NetworkChaos
metadata: { name: lossy }
spec: { action: loss, mode: ${mode}, selector: { labelSelectors: { app: web } }, loss: { loss: "10" }, duration: 1h }
`;

  it("lists targets, candidates where chance decides, and pods that are skipped with the reason", async () => {
    const [all] = await plan(loss("all"));
    assert.deepEqual(
      all?.selections[0]?.pods.map(({ pod, verdict, reason }) => [pod, verdict, reason]),
      [
        ["shop/web-0", "target", undefined],
        ["shop/web-1", "target", undefined],
        ["shop/web-2", "skipped", "NotInjected"],
      ],
    );
    const [one] = await plan(loss("one"));
    assert.deepEqual(
      one?.selections[0]?.pods.map(({ verdict }) => verdict),
      ["candidate", "candidate", "skipped"],
    );
    const text = renderPlan(await planFileOf(loss("one")));
    assert.match(text, /^NetworkChaos shop\/lossy: Loses 10 % of the packets/);
    assert.match(text, /spec\.selector: 3 match, 2 can be picked, 1 is, by chance/);
    assert.match(text, /shop\/web-2 +node-1 +Pod\/web-2 +skipped +NotInjected: /);
  });

  it("lists pods without the volume that is to be faulted, with what they have", async () => {
    kube.seed(pods, {
      metadata: { name: "db-0", namespace: "shop", labels: { app: "db" } },
      spec: {
        volumes: [{ name: "data", emptyDir: {} }],
        containers: [{ name: "db", volumeMounts: [{ name: "data", mountPath: "/data" }] }],
        initContainers: [{ name: "squall-sidecar", env: [{ name: "SQUALL_VOLUMES", value: '[{"name":"data","source":"emptyDir"}]' }] }],
      },
      status: { phase: "Running", podIP: "10.0.0.1" },
    });
    const full = (volumePath: string): string => `
apiVersion: chaos-mesh.org/v1alpha1
kind: IOChaos
metadata: { name: full }
spec: { action: fault, errno: 28, mode: all, selector: { labelSelectors: { app: db } }, volumePath: ${volumePath} }
`;
    assert.match(
      renderPlan(await planFileOf(full("/dat"))),
      /shop\/db-0 .* skipped +NoVolume: Container db has no volume at "\/dat"\. Served through FUSE are "\/data" \(volume data\)\./,
    );
    const [planned] = await plan(full("/data"));
    assert.equal(planned?.selections[0]?.pods[0]?.verdict, "target");
  });

  it("says what policies forbid", async () => {
    kube.seed(chaosPolicies, { metadata: { name: "short" }, spec: { duration: { max: "5m" } } });
    const [planned] = await plan(loss("all"));
    assert.deepEqual(planned?.violations, ['spec.duration: is longer than policy short (spec.duration.max) allows. Write at most "5m".']);
    assert.match(renderPlan(await planFileOf(loss("all"))), /REFUSED OR WAITS: spec\.duration/);
  });

  it("says that whoever asks may not see policies, which is not the same as none", async () => {
    assert.equal((await planFileOf(loss("all"))).arePoliciesVisible, true);
    kube.fail({ verb: "list", plural: "chaospolicies", error: new KubeError("forbidden", "no"), times: 2 });
    assert.equal((await planFileOf(loss("all"))).arePoliciesVisible, false);
    assert.match(renderPlan(await planFileOf(loss("all"))), /\n\nYou may not list ChaosPolicies: /);
  });

  it("leaves objects of others out and tells of them, whatever their kind is called", async () => {
    const argo = "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nspec: { entrypoint: main }\n";
    assert.deepEqual((await planFileOf(`${argo}---${loss("all")}`)).others, ["argoproj.io/v1alpha1 Workflow"]);
    assert.match(
      renderPlan(await planFileOf(`${argo}---${loss("all")}`)),
      /\n\nNot Squall's, and left out: argoproj\.io\/v1alpha1 Workflow\.$/,
    );
    await assert.rejects(plan(argo), /has no object that Squall knows\. Its kinds: argoproj\.io\/v1alpha1 Workflow\./);
  });

  it("names a file that is not there", async () => {
    const nowhere = planFile("nowhere.yaml", { kube, namespace: "shop", now: new Date() });
    await assert.rejects(nowhere, { message: "There is no file nowhere.yaml." });
  });

  it("names every mistake of a file that would be refused", async () => {
    await assert.rejects(plan(loss("some").replace("1h", "1d")), (error: Error) => {
      assert.match(error.message, /^NetworkChaos shop\/lossy would be refused\.\nspec\.mode: "some" is none of/);
      assert.match(error.message, /\nspec\.duration: "1d": days are no unit/);
      return true;
    });
    await assert.rejects(
      plan("apiVersion: apps/v1\nkind: Deployment"),
      /has no object that Squall knows\. Its kinds: apps\/v1 Deployment\./,
    );
    await assert.rejects(plan("a: ["), /is no YAML/);
  });

  it("plans each experiment of a file, and nothing of what faults no pods", async () => {
    assert.equal((await plan([loss("all"), loss("one")].join("---"))).length, 2);
    assert.equal(
      renderPlan(await planFileOf("apiVersion: squall.dev/v1alpha1\nkind: Halt\nmetadata: { name: x }\n")),
      "Nothing in this file faults pods.",
    );
  });
});

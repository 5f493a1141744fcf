import assert from "node:assert/strict";
import { waitUntil } from "../../lab/wait-until.ts";
import { namespace as namespaceManifests } from "./support/pods.ts";
import { type Peers, startPeers } from "./support/peers.ts";

describe("a person with Kubernetes' own role edit in one namespace", () => {
  const far = "far-street";
  let peers: Peers;
  before(async function () {
    this.timeout(240_000);
    peers = await startPeers("near-street", ["house"]);
    await peers.apply(...namespaceManifests(far));
    for (const [role, person] of [
      ["edit", "jane"],
      ["view", "victor"],
      ["admin", "ada"],
    ] as const)
      await peers.kubectl(["create", "rolebinding", person, "-n", peers.namespace, `--clusterrole=${role}`, `--user=${person}`]);
    await waitUntil("roles are aggregated", () => canI("jane", "create", "networkchaos"), { timeoutMs: 30_000 });
  });
  after(async () => {
    await peers.kubectl(["delete", "namespace", far, "--wait=false"]);
    await peers.remove();
  });

  const canI = async (person: string, verb: string, plural: string): Promise<boolean> => {
    const { code } = await peers.kubectl.attempt([
      "auth",
      "can-i",
      verb,
      `${plural}.chaos-mesh.org`,
      "-n",
      peers.namespace,
      `--as=${person}`,
    ]);
    return code === 0;
  };
  const partition = (name: string, selector: object): object => ({
    apiVersion: "chaos-mesh.org/v1alpha1",
    kind: "NetworkChaos",
    metadata: { name, namespace: peers.namespace },
    spec: { action: "partition", mode: "all", selector, externalTargets: ["203.0.113.0/24"], duration: "5m" },
  });
  const applyAs = (person: string, object: object) =>
    peers.kubectl.attempt(["apply", "-f", "-", `--as=${person}`], { stdin: JSON.stringify(object) });

  it("may make experiments there, administrators too; viewers see them", async () => {
    const rights: readonly (readonly [person: string, verb: string, plural: string, may: boolean])[] = [
      ["jane", "delete", "podchaos", true],
      ["jane", "create", "schedules", true],
      ["jane", "create", "physicalmachines", false],
      ["ada", "create", "networkchaos", true],
      ["ada", "create", "physicalmachines", false],
      ["victor", "list", "networkchaos", true],
      ["victor", "create", "networkchaos", false],
    ];
    for (const [person, verb, plural, may] of rights) assert.equal(await canI(person, verb, plural), may, `${person} ${verb} ${plural}`);
  });

  it("faults the pods of that namespace, and answers for it", async () => {
    const { code, stderr } = await applyAs("jane", partition("hers", {}));
    assert.equal(code, 0, stderr);
    await peers.waitFor("networkchaos/hers", "AllInjected");
    assert.match(
      await peers.jsonpath("networkchaos/hers", "{.metadata.annotations.squall\\.dev/author}"),
      /^\{"username":"jane","groups":\[/,
    );
  });

  it("is told what it takes to reach another one", async () => {
    const { code, stderr } = await applyAs("jane", partition("theirs", { namespaces: [peers.namespace, far] }));
    assert.equal(code, 1);
    assert.match(stderr, /Forbidden: "jane" may not do all that NetworkChaos theirs does: this right is missing\./);
    assert.match(stderr, /spec\.selector\.namespaces\[1\]: create networkchaos\.chaos-mesh\.org in namespace far-street\./);
  });
});

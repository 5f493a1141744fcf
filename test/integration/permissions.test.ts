import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parse } from "yaml";
import { parseAuthor, renderAuthor } from "../../api/author.ts";
import type { KindName } from "../../api/kinds/registry.ts";
import { kinds } from "../../api/kinds/registry.ts";
import { systemClock } from "../../common/clock.ts";
import { annotations, labels, OPTED_IN, SIDECAR_CONTAINER } from "../../common/names.ts";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { isKubeError, type KubeError } from "../../kube/errors.ts";
import { experimentResource } from "../../kube/experiments.ts";
import { namespaces, persistentVolumeClaims, pods, subjectAccessReviews } from "../../kube/resources.ts";
import { cachedPath, ensureBinaries } from "../../lab/binaries.ts";
import { placesOf } from "../../lab/places.ts";
import { silentProgress } from "../../lab/progress.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import { createKubectl, type Kubectl } from "../cluster/support/kubectl.ts";
import { FakeAgents } from "../support/fake-agent.ts";
import { startTestApiServer, type TestApiServer } from "../support/api-server.ts";
import { startLeader } from "./support/leader.ts";
import { refusal } from "./support/refusal.ts";
import { anyResource } from "./support/served-kinds.ts";
import {
  bind,
  clusterRoleBindings,
  clusterRoles,
  connectPerson,
  connectServiceAccount,
  installAccess,
  roleBindings,
  serviceAccounts,
  type User,
} from "./support/users.ts";
import { startTestWebhook, type TestWebhook } from "./support/webhook.ts";

const SHOP = "access-shop";
const BANK = "access-bank";
const EXPERIMENTER = "squall-experimenter";
const networkChaos = experimentResource("NetworkChaos");
const cut = { action: "partition", mode: "all" };
const killBank = { action: "pod-kill", mode: "one", selector: { namespaces: [BANK] } };
const killOften = { schedule: "@hourly", type: "PodChaos", podChaos: killBank };
/** Reaches the bank by a Schedule inside, and makes a pod. */
const drill = {
  entry: "all",
  templates: [
    { name: "all", templateType: "Parallel", children: ["cut", "often", "job"] },
    { name: "cut", templateType: "NetworkChaos", deadline: "1m", networkChaos: cut },
    { name: "often", templateType: "Schedule", deadline: "1m", schedule: killOften },
    { name: "job", templateType: "Task", task: { container: { name: "job", image: "job" } } },
  ],
};
const kill = { action: "pod-kill", mode: "one" };

/** Who may do what here, by the roles of manifests/roles.yaml. */
const authors = ["nobody", "viewer", "shopper", "banker", "sre", "robot", "chief"] as const;
type AuthorName = (typeof authors)[number];

/** Of caches of the API server, and of the controller. */
const patience = { timeoutMs: 20_000 };

const inBank = (kind: KindName): string => `create ${kinds[kind].plural}.chaos-mesh.org in namespace ${BANK}`;

/** Roles of Squall let nobody read Secrets. */
const TILL_SECRET = `get secrets till-tls in namespace ${BANK}`;

/** Kubernetes' own role edit has it; those of Squall do not. */
const MAKE_PODS = `create pods in namespace ${SHOP}`;
const ANY_MACHINE = "create physicalmachinechaos.chaos-mesh.org in all namespaces";

/** An object and what each author lacks for it; nobody and viewers may not even create it in its own namespace. */
interface Case {
  readonly title: string;
  readonly kind: KindName;
  readonly spec: object;
  /** For whoever has the rights of an experimenter in the shop, or in shop and bank, or of an operator, who lacks nothing by default. */
  readonly lacks: { readonly shop: readonly string[]; readonly both: readonly string[]; readonly cluster?: readonly string[] };
}

const cases: readonly Case[] = [
  {
    title: "a plain NetworkChaos",
    kind: "NetworkChaos",
    spec: { ...cut, selector: { labelSelectors: { app: "web" } } },
    lacks: { shop: [], both: [] },
  },
  {
    title: "a selector without namespaces",
    kind: "PodChaos",
    spec: { ...kill, selector: { namespaces: [] } },
    lacks: { shop: [], both: [] },
  },
  {
    title: "a selector of two namespaces",
    kind: "PodChaos",
    spec: { ...kill, selector: { namespaces: [SHOP, BANK] } },
    lacks: { shop: [inBank("PodChaos")], both: [] },
  },
  {
    title: "a target in another namespace",
    kind: "NetworkChaos",
    spec: { ...cut, target: { mode: "all", selector: { namespaces: [BANK] } } },
    lacks: { shop: [inBank("NetworkChaos")], both: [] },
  },
  {
    title: "pods by name",
    kind: "PodChaos",
    spec: { ...kill, selector: { pods: { [SHOP]: ["cart"], [BANK]: ["till"] } } },
    lacks: { shop: [inBank("PodChaos")], both: [] },
  },
  {
    title: "a namespace of which nobody has heard",
    kind: "PodChaos",
    spec: { ...kill, selector: { namespaces: ["access-attic"] } },
    lacks: {
      shop: ["create podchaos.chaos-mesh.org in namespace access-attic"],
      both: ["create podchaos.chaos-mesh.org in namespace access-attic"],
    },
  },
  {
    title: "a Secret with a certificate",
    kind: "HTTPChaos",
    spec: {
      target: "Request",
      port: 443,
      abort: true,
      mode: "all",
      tls: { secretName: "till-tls", secretNamespace: BANK, certName: "tls.crt", keyName: "tls.key" },
    },
    lacks: { shop: [TILL_SECRET], both: [TILL_SECRET], cluster: [TILL_SECRET] },
  },
  {
    title: "a Schedule of the own namespace",
    kind: "Schedule",
    spec: { ...killOften, podChaos: { ...kill, selector: {} } },
    lacks: { shop: [], both: [] },
  },
  {
    title: "a Schedule that kills elsewhere",
    kind: "Schedule",
    spec: killOften,
    lacks: { shop: [inBank("PodChaos")], both: [] },
  },
  {
    title: "a Workflow with a Schedule and a Task inside",
    kind: "Workflow",
    spec: drill,
    lacks: { shop: [MAKE_PODS, inBank("PodChaos")], both: [MAKE_PODS], cluster: [MAKE_PODS] },
  },
  {
    title: "a Schedule of that Workflow",
    kind: "Schedule",
    spec: { schedule: "@daily", type: "Workflow", workflow: drill },
    lacks: { shop: [MAKE_PODS, inBank("PodChaos")], both: [MAKE_PODS], cluster: [MAKE_PODS] },
  },
  {
    title: "the cluster's own account at a cloud",
    kind: "AWSChaos",
    spec: { action: "ec2-stop", awsRegion: "eu-west-1", ec2Instance: "i-1" },
    lacks: { shop: ["create awschaos.chaos-mesh.org in all namespaces"], both: ["create awschaos.chaos-mesh.org in all namespaces"] },
  },
  {
    title: "a machine by its address",
    kind: "PhysicalMachineChaos",
    spec: { action: "stress-cpu", mode: "all", address: ["10.0.0.9:31767"], "stress-cpu": { load: 50, workers: 2 } },
    lacks: { shop: [ANY_MACHINE], both: [ANY_MACHINE] },
  },
  {
    title: "a remote cluster",
    kind: "NetworkChaos",
    spec: { ...cut, remoteCluster: "west" },
    lacks: { shop: ["use remoteclusters.chaos-mesh.org west"], both: ["use remoteclusters.chaos-mesh.org west"] },
  },
];

describe("who may do what, at a real API server", () => {
  const closers: (() => Promise<void>)[] = [];
  const users = new Map<AuthorName, User>();
  let api: TestApiServer;
  let admin: KubeConnection;
  let webhook: TestWebhook;
  let program: string;
  const user = (name: AuthorName): User => users.get(name) ?? assert.fail(name);
  const kubectlOf = (name: AuthorName): Kubectl => createKubectl({ program, kubeconfig: user(name).kubeconfig });

  before(async () => {
    api = await startTestApiServer();
    closers.push(() => api.close());
    admin = connectKube({ process: "test", version: "0", kubeconfig: api.kubeconfig });
    closers.push(() => admin.close());
    const { cache } = placesOf(process.env);
    await ensureBinaries(["kubectl"], { cache, kubebuilderAssets: process.env["KUBEBUILDER_ASSETS"] }, silentProgress);
    program = cachedPath(cache, "kubectl");
    for (const name of ["squall-system", SHOP, BANK]) await admin.create(namespaces, { metadata: { name } });
    await installAccess(admin, ["manifests/webhook.yaml", "manifests/controller.yaml", "manifests/roles.yaml"]);
    // The webhook asks with its own rights and no others.
    const asker = await connectServiceAccount(api, admin, "squall-system", "squall-webhook");
    closers.push(() => asker.kube.close());
    webhook = await startTestWebhook(admin, { asker: asker.kube });
    closers.push(() => webhook.close());
    // What cannot be carried out yet is judged like all else first.
    webhook.policy.admitUnsupported = true;
    await admin.create(serviceAccounts, { metadata: { namespace: SHOP, name: "robot" } });
    users.set("robot", await connectServiceAccount(api, admin, SHOP, "robot"));
    for (const name of authors.filter((other) => other !== "robot"))
      users.set(name, await connectPerson(api, { name, ...(name === "sre" && { group: "on-call" }) }));
    closers.push(async () => {
      for (const { kube } of users.values()) await kube.close();
    });
    await bind(admin, "squall-viewer", { kind: "User", name: "viewer" }, SHOP);
    await bind(admin, EXPERIMENTER, { kind: "User", name: "shopper" }, SHOP);
    await bind(admin, EXPERIMENTER, { kind: "ServiceAccount", namespace: SHOP, name: "robot" }, SHOP);
    for (const namespace of [SHOP, BANK]) {
      await bind(admin, EXPERIMENTER, { kind: "User", name: "banker" }, namespace);
      await bind(admin, EXPERIMENTER, { kind: "Group", name: "on-call" }, namespace);
    }
    await bind(admin, "squall-operator", { kind: "User", name: "chief" });
    await waitUntil("bindings hold", async () => (await lacks("chief", cases[0] ?? assert.fail())).length === 0, patience);
  });
  after(async () => {
    for (const close of closers.toReversed()) await close();
  });

  const resourceFor = (kind: KindName) => anyResource("chaos-mesh.org", "v1alpha1", kind, kinds[kind].plural, true);

  /** What an author lacks to create an object; `RBAC` where the API server does not even ask the webhook. */
  const lacks = (author: AuthorName, reach: Pick<Case, "kind" | "spec">): Promise<readonly string[]> => lacksOf(user(author), reach);
  async function lacksOf({ kube }: User, { kind, spec }: Pick<Case, "kind" | "spec">): Promise<readonly string[]> {
    try {
      await kube.create(resourceFor(kind), { metadata: { namespace: SHOP, name: "asked" }, spec }, { dryRun: true });
      return [];
    } catch (error) {
      if (!isKubeError(error, "forbidden")) throw error;
      if (error.message.includes(`cannot create resource "${kinds[kind].plural}"`)) return ["RBAC"];
      assert.match(error.message, /admission webhook "validate\.squall\.dev" denied the request: Forbidden: /);
      return [...error.message.matchAll(/^ {2}\S+: (.*?)\. Try: kubectl auth can-i/gm)].map((match) => match[1] ?? "");
    }
  }

  for (const { title, kind, spec, lacks: expected } of cases)
    it(`${title}: every author lacks exactly what they have no right to`, async () => {
      const found = Object.fromEntries(await Promise.all(authors.map(async (name) => [name, await lacks(name, { kind, spec })] as const)));
      assert.deepEqual(found, {
        nobody: ["RBAC"],
        viewer: ["RBAC"],
        shopper: expected.shop,
        robot: expected.shop,
        banker: expected.both,
        sre: expected.both,
        chief: expected.cluster ?? [],
      });
    });

  it("lets the controller read a claim that it names, and list none", async () => {
    const { kube } = await connectServiceAccount(api, admin, "squall-system", "squall-controller");
    closers.push(() => kube.close());
    const spec = { accessModes: ["ReadWriteOnce"], resources: { requests: { storage: "1Gi" } }, volumeName: "pv-1" };
    await admin.create(persistentVolumeClaims, { metadata: { namespace: SHOP, name: "disk" }, spec });
    assert.equal((await kube.get(persistentVolumeClaims, { namespace: SHOP, name: "disk" })).spec.volumeName, "pv-1");
    await assert.rejects(kube.list(persistentVolumeClaims, { namespace: SHOP }), (error) => isKubeError(error, "forbidden"));
  });

  it("agrees with kubectl auth can-i, as its answer suggests", async () => {
    const kubectl = kubectlOf("shopper");
    const attempt = await kubectl.attempt(["apply", "-f", "-"], { stdin: manifest("far", { ...cut, selector: { namespaces: [BANK] } }) });
    assert.equal(attempt.code, 1);
    const [, question = ""] = /Try: kubectl (auth can-i .*)$/m.exec(attempt.stderr) ?? [];
    assert.equal((await kubectl.attempt(question.split(" "))).stdout.trim(), "no");
    assert.equal((await kubectlOf("banker").attempt(question.split(" "))).stdout.trim(), "yes");
  });

  it("lets nobody create who may only patch, so that at creation the own namespace need not be asked about", async () => {
    const rules = [{ apiGroups: ["chaos-mesh.org"], resources: ["networkchaos"], verbs: ["get", "patch", "update"] }];
    await admin.create(clusterRoles, { metadata: { name: "patcher" }, rules });
    const patcher = await connectPerson(api, { name: "patcher" });
    closers.push(() => patcher.kube.close());
    await bind(admin, "patcher", { kind: "User", name: "patcher" }, SHOP);
    await admin.create(networkChaos, { metadata: { namespace: SHOP, name: "patched" }, spec: cut });
    const kubectl = createKubectl({ program, kubeconfig: patcher.kubeconfig });
    const apply = (name: string) =>
      kubectl.attempt(["apply", "--server-side", "--force-conflicts", "-f", "-"], { stdin: manifest(name, cut, { seen: "yes" }) });
    await waitUntil("the role holds", async () => (await apply("patched")).code === 0, patience);
    const { code, stderr } = await apply("new");
    assert.equal(code, 1);
    assert.match(stderr, /User "patcher" cannot create resource "networkchaos"/);
  });

  it("takes a right away and grants one within seconds", async () => {
    const reach = { kind: "PodChaos", spec: { ...kill, selector: { namespaces: [BANK] } } } as const;
    assert.notDeepEqual(await lacks("shopper", reach), []);
    const name = await bind(admin, EXPERIMENTER, { kind: "User", name: "shopper" }, BANK);
    await waitUntil("the right is there", async () => (await lacks("shopper", reach)).length === 0, patience);
    await admin.delete(roleBindings, { namespace: BANK, name });
    await waitUntil("the right is gone", async () => (await lacks("shopper", reach)).length > 0, patience);
  });

  it("tells clients to come again when nobody can say what the author may do", async () => {
    const saved = await admin.get(clusterRoleBindings, { name: "squall-webhook" });
    await admin.delete(clusterRoleBindings, { name: "squall-webhook" });
    const spec = { ...cut, selector: { namespaces: ["access-unheard"] } };
    let error: KubeError | undefined;
    await waitUntil(
      "the webhook may not ask any more",
      async () => {
        error = await refusal(user("banker").kube.create(networkChaos, { metadata: { namespace: SHOP, name: "later" }, spec }));
        return error.kind !== "forbidden";
      },
      patience,
    );
    assert.equal(error?.kind, "unavailable");
    assert.equal(error?.retryAfterMs, 1_000);
    assert.match(
      error?.message ?? "",
      /AuthorisationUnavailable: The API server did not say what "banker" may do, so nothing was changed\. Try again/,
    );
    const { resourceVersion: _, uid: __, ...metadata } = saved.metadata;
    await admin.create(clusterRoleBindings, { ...saved, metadata });
    await waitUntil("it may again", async () => (await lacks("banker", { kind: "NetworkChaos", spec })).length === 1, patience);
  });

  const manifest = (name: string, spec: object, more: Readonly<Record<string, string>> = {}): string =>
    JSON.stringify({
      apiVersion: "chaos-mesh.org/v1alpha1",
      kind: "NetworkChaos",
      metadata: { name, namespace: SHOP, annotations: more },
      spec,
    });
  const authorOf = async (name: string): Promise<string | undefined> => {
    const found = (await admin.get(networkChaos, { namespace: SHOP, name })).metadata.annotations?.[annotations.author];
    return parseAuthor(found)?.username;
  };

  describe("the author", () => {
    it("is who created it, with all groups, for people and service accounts", async () => {
      await user("sre").kube.create(networkChaos, { metadata: { namespace: SHOP, name: "by-sre" }, spec: cut });
      const { metadata } = await user("robot").kube.create(networkChaos, { metadata: { namespace: SHOP, name: "by-robot" }, spec: cut });
      const robot = parseAuthor(metadata.annotations?.[annotations.author]);
      assert.equal(robot?.username, `system:serviceaccount:${SHOP}:robot`);
      assert.ok(robot?.uid !== undefined && robot.groups.includes(`system:serviceaccounts:${SHOP}`));
      const sre = parseAuthor(
        (await admin.get(networkChaos, { namespace: SHOP, name: "by-sre" })).metadata.annotations?.[annotations.author],
      );
      assert.deepEqual([sre?.username, sre?.groups], ["sre", ["on-call", "system:authenticated"]]);
      const { status } = await admin.create(subjectAccessReviews, {
        metadata: {},
        spec: {
          user: sre?.username,
          groups: sre?.groups,
          resourceAttributes: { verb: "create", group: "chaos-mesh.org", resource: "podchaos", namespace: BANK },
        },
      });
      assert.equal(status.allowed, true);
    });

    it("stays through every kubectl command of somebody else", async () => {
      await kubectlOf("shopper")(["apply", "-f", "-"], { stdin: manifest("kept", cut) });
      const banker = kubectlOf("banker");
      const object = ["networkchaos/kept", "-n", SHOP];
      await banker(["annotate", ...object, "experiment.chaos-mesh.org/pause=true"]);
      assert.equal(await authorOf("kept"), "shopper");
      await banker(["apply", "-f", "-"], { stdin: manifest("kept", cut, { "experiment.chaos-mesh.org/pause": "false" }) });
      assert.equal(await authorOf("kept"), "shopper");
      await banker(["apply", "--server-side", "--force-conflicts", "-f", "-"], { stdin: manifest("kept", cut) });
      await banker(["apply", "--server-side", "--force-conflicts", "-f", "-"], { stdin: manifest("kept", cut, { team: "bank" }) });
      assert.equal(await authorOf("kept"), "shopper");
      await banker(["replace", "-f", "-"], { stdin: manifest("kept", cut) });
      assert.equal(await authorOf("kept"), "shopper");
      await banker(["annotate", ...object, `${annotations.author}-`]);
      assert.equal(await authorOf("kept"), "shopper");
      const claimed = await banker.attempt([
        "annotate",
        "--overwrite",
        ...object,
        `${annotations.author}=${renderAuthor({ username: "banker", groups: [], extra: {} })}`,
      ]);
      assert.match(claimed.stderr, /Warning: squall\.dev\/author says who answers for the object\. Squall writes it/);
      assert.equal(await authorOf("kept"), "shopper");
      const editor = join(dirname(api.kubeconfig), "editor");
      await writeFile(editor, "#!/bin/sh\nsed -i -e 's/squall.dev.author: .*/squall.dev\\/author: me/' \"$1\"\n", { mode: 0o700 });
      await createKubectl({ program, kubeconfig: user("banker").kubeconfig })(["edit", ...object], { env: { KUBE_EDITOR: editor } });
      assert.equal(await authorOf("kept"), "shopper");
    });

    it("is whoever changed the spec of a Schedule last, who needs the rights then", async () => {
      const schedules = resourceFor("Schedule");
      const ref = { namespace: SHOP, name: "weekly" };
      const change = (name: AuthorName, spec: object): Promise<unknown> =>
        user(name).kube.patch(schedules, ref, { spec }, { type: "merge" });
      const author = async (): Promise<string | undefined> => {
        const { metadata } = await admin.get(schedules, ref);
        return parseAuthor((metadata["annotations"] as Readonly<Record<string, string>>)[annotations.author])?.username;
      };
      await user("shopper").kube.create(schedules, { metadata: ref, spec: { ...killOften, podChaos: { ...kill, selector: {} } } });
      assert.equal(await author(), "shopper");
      await change("banker", killOften);
      assert.equal(await author(), "banker");
      // It is the whole that somebody answers for, not only the part that they change.
      assert.match(
        (await refusal(change("shopper", { schedule: "@daily" }))).message,
        /Forbidden: "shopper" may not do all that Schedule weekly does/,
      );
      await user("shopper").kube.patch(schedules, ref, { metadata: { labels: { team: "shop" } } }, { type: "merge" });
      assert.equal(await author(), "banker");
      await change("shopper", { schedule: "@daily", podChaos: { ...kill, selector: { namespaces: [SHOP] } } });
      assert.equal(await author(), "shopper");
    });

    it("is whoever applies an exported manifest, not whoever made the original", async () => {
      await kubectlOf("shopper")(["apply", "-f", "-"], { stdin: manifest("original", cut) });
      const exported = parse(await kubectlOf("banker")(["get", "networkchaos", "original", "-n", SHOP, "-o", "yaml"])) as {
        readonly metadata: object;
      };
      const copy = JSON.stringify({
        ...exported,
        metadata: { ...exported.metadata, name: "copy", uid: undefined, resourceVersion: undefined },
      });
      const { stderr, code } = await kubectlOf("banker").attempt(["create", "-f", "-"], { stdin: copy });
      assert.equal(code, 0, stderr);
      assert.match(stderr, /Warning: squall\.dev\/author/);
      assert.equal(await authorOf("copy"), "banker");
    });

    it("cannot be got round by a deletion that is only claimed", async () => {
      const metadata = { namespace: SHOP, name: "leaving", deletionTimestamp: "2026-01-01T00:00:00Z" };
      const far = { ...cut, selector: { namespaces: [BANK] } };
      assert.match(
        (await refusal(user("shopper").kube.create(networkChaos, { metadata, spec: far }))).message,
        /Forbidden: "shopper" may not/,
      );
      await user("shopper").kube.create(networkChaos, { metadata: { namespace: SHOP, name: "leaving" }, spec: cut });
      const patch = { metadata: { deletionTimestamp: "2026-01-01T00:00:00Z", annotations: { [annotations.author]: "me" } } };
      await user("shopper")
        .kube.patch(networkChaos, { namespace: SHOP, name: "leaving" }, patch, { type: "merge" })
        .catch((error: unknown) => {
          if (!isKubeError(error, "invalid", "forbidden")) throw error;
        });
      assert.equal(await authorOf("leaving"), "shopper");
    });
  });

  describe("what the controller makes of somebody's object", () => {
    let controller: User;
    before(async () => {
      controller = await connectServiceAccount(api, admin, "squall-system", "squall-controller");
      closers.push(() => controller.kube.close());
      // As it will have for children of Schedules and Workflows.
      await bind(admin, EXPERIMENTER, { kind: "ServiceAccount", namespace: "squall-system", name: "squall-controller" }, SHOP);
    });
    const shopper = renderAuthor({ username: "shopper", groups: ["system:authenticated"], extra: {} });
    const make = (name: string, spec: object, author?: string): Promise<unknown> => {
      const written = author === undefined ? {} : { annotations: { [annotations.author]: author } };
      return controller.kube.create(networkChaos, { metadata: { namespace: SHOP, name, ...written }, spec });
    };

    it("has the author that it hands on, and may do what that author may", async () => {
      await waitUntil(
        "it may create",
        () =>
          make("child", cut, shopper).then(
            () => true,
            (error: unknown) => !isKubeError(error, "forbidden"),
          ),
        patience,
      );
      assert.equal(await authorOf("child"), "shopper");
      const error = await refusal(make("far-child", { ...cut, selector: { namespaces: [BANK] } }, shopper));
      assert.match(error.message, /Forbidden: "shopper" may not do all that NetworkChaos far-child does/);
    });

    it("alone may be a WorkflowNode", async () => {
      const nodes = resourceFor("WorkflowNode");
      const spec = { templateName: "rest", workflowName: "drill", type: "Suspend", startTime: "2030-01-01T00:00:00Z" };
      const node = (name: string) => ({ metadata: { namespace: SHOP, name, annotations: { [annotations.author]: shopper } }, spec });
      assert.match(
        (await refusal(admin.create(nodes, node("by-hand")))).message,
        /OnlyByController: WorkflowNode by-hand cannot be written by hand/,
      );
      const rules = [{ apiGroups: ["chaos-mesh.org"], resources: ["workflownodes"], verbs: ["create"] }];
      await admin.create(clusterRoles, { metadata: { name: "node-maker" }, rules });
      await bind(admin, "node-maker", { kind: "ServiceAccount", namespace: "squall-system", name: "squall-controller" }, SHOP);
      await waitUntil(
        "it may create",
        () =>
          controller.kube.create(nodes, node("rest")).then(
            () => true,
            (error: unknown) => {
              if (!isKubeError(error, "forbidden") || error.message.includes("webhook")) throw error;
              return false;
            },
          ),
        patience,
      );
    });

    it("is refused without an author", async () =>
      assert.match((await refusal(make("orphan", cut))).message, /NoAuthor: Nobody answers for NetworkChaos orphan/));
  });

  describe("the controller, with its own rights", () => {
    const pod = { namespace: SHOP, name: "web" };
    const agents = new FakeAgents(systemClock);
    before(async () => {
      await admin.patch(namespaces, { name: SHOP }, { metadata: { labels: { [labels.inject]: OPTED_IN } } }, { type: "merge" });
      const { uid } = (
        await admin.create(pods, {
          metadata: { ...pod, labels: { app: "web" } },
          spec: {
            nodeName: "node",
            initContainers: [{ name: SIDECAR_CONTAINER, image: "none", restartPolicy: "Always" }],
            containers: [{ name: "app", image: "none" }],
          },
        })
      ).metadata;
      const status = { phase: "Running", podIP: "10.244.0.1", podIPs: [{ ip: "10.244.0.1" }] };
      await admin.patch(pods, pod, { status }, { type: "merge", subresource: "status" });
      assert.deepEqual(agents.of(uid).faults, []);
      const { kube } = await connectServiceAccount(api, admin, "squall-system", "squall-controller");
      const leader = await startLeader({ kube, agents });
      closers.push(() => leader.close());
    });
    const spec = { ...cut, selector: { labelSelectors: { app: "web" } } };
    const reason = async (name: string, type: string): Promise<string> => {
      const { conditions = [] } = (await admin.get(networkChaos, { namespace: SHOP, name })).status;
      const found = conditions.find((condition) => condition.type === type);
      return `${found?.status} ${found?.reason}`;
    };
    const untilReason = (name: string, type: string, wanted: string): Promise<void> => {
      const isSo = async (): Promise<boolean | string> => {
        const found = await reason(name, type);
        return found === wanted || found;
      };
      return waitUntil(`${type} of ${name} is ${wanted}`, isSo, patience);
    };

    it("starts what its author may still do, and not what they may not do any more", async () => {
      const binding = await bind(admin, EXPERIMENTER, { kind: "User", name: "leaver" }, SHOP);
      const leaver = await connectPerson(api, { name: "leaver" });
      closers.push(() => leaver.kube.close());
      const annotated = { annotations: { "experiment.chaos-mesh.org/pause": "true" } };
      await waitUntil(
        "the binding holds",
        () =>
          leaver.kube.create(networkChaos, { metadata: { namespace: SHOP, name: "left", ...annotated }, spec }).then(
            () => true,
            (error: unknown) => !isKubeError(error, "forbidden"),
          ),
        patience,
      );
      await admin.delete(roleBindings, { namespace: SHOP, name: binding });
      await waitUntil("the right is gone", async () => (await lacksOf(leaver, { kind: "NetworkChaos", spec }))[0] === "RBAC", patience);
      const unpause = { metadata: { annotations: { "experiment.chaos-mesh.org/pause": null } } };
      await admin.patch(networkChaos, { namespace: SHOP, name: "left" }, unpause, { type: "merge" });
      await untilReason("left", "Selected", "False Forbidden");
      await bind(admin, EXPERIMENTER, { kind: "User", name: "leaver" }, SHOP);
      await untilReason("left", "AllInjected", "True AllTargetsInjected");
    });

    it("starts nothing that was stored while the webhook was away", async () => {
      await webhook.remove();
      await waitUntil(
        "the webhook is not asked",
        () =>
          admin.create(networkChaos, { metadata: { namespace: SHOP, name: "stray" }, spec }).then(
            async ({ metadata }) => {
              if (metadata.annotations?.[annotations.author] === undefined) return true;
              await admin.delete(networkChaos, { namespace: SHOP, name: "stray" });
              return false;
            },
            () => false,
          ),
        patience,
      );
      await untilReason("stray", "Selected", "False NoAuthor");
    });
  });
});

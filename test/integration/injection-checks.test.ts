import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseVerdict, type PodClass } from "../../api/injection-verdict.ts";
import type { Quality } from "../../api/quality-of-service.ts";
import { createAuthority, openAuthority } from "../../certs/authority.ts";
import { systemClock } from "../../common/clock.ts";
import { silentLog } from "../../common/log.ts";
import { startInjectionChecks } from "../../controller/namespaces/injection-checks.ts";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { isKubeError } from "../../kube/errors.ts";
import { Reflector } from "../../kube/reflector.ts";
import { events, namespaces, podTrials, pods } from "../../kube/resources.ts";
import { findFreePorts } from "../../lab/free-ports.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import { readWebhookConfig } from "../../webhook/config.ts";
import { runWebhook, type Webhook } from "../../webhook/run.ts";
import type { Kubectl } from "../cluster/support/kubectl.ts";
import { startTestApiServer, type TestApiServer } from "../support/api-server.ts";
import { adminKubectl, controllerKubeconfig, installManifests, pointWebhooks } from "./support/installation.ts";
import { anyResource } from "./support/served-kinds.ts";

/** Pods of each class that get along with a quota on limits of both. */
const shapes = {
  BestEffort: {},
  Burstable: { requests: { cpu: "20m", memory: "20Mi" }, limits: { cpu: "30m", memory: "30Mi" } },
  Guaranteed: { requests: { cpu: "20m", memory: "20Mi" }, limits: { cpu: "20m", memory: "20Mi" } },
} as const satisfies Readonly<Record<Quality, object>>;

const quotas = anyResource("", "v1", "ResourceQuota", "resourcequotas", true);
const ranges = anyResource("", "v1", "LimitRange", "limitranges", true);
const daemonSets = anyResource("apps", "v1", "DaemonSet", "daemonsets", true);
const enforced = "pod-security.kubernetes.io/enforce";
const patience = { timeoutMs: 20_000 };

describe("injection that no policy can turn into an outage, at a real API server", function () {
  this.timeout(120_000);
  let api: TestApiServer;
  let kube: KubeConnection;
  let kubectl: Kubectl;
  let asController: KubeConnection;
  let webhook: Webhook | undefined;
  let runAgain: () => Promise<Webhook>;
  let number = 0;
  const closers: (() => Promise<void>)[] = [];

  before(async () => {
    api = await startTestApiServer();
    closers.push(() => api.close());
    kube = connectKube({ process: "test", version: "0", kubeconfig: api.kubeconfig });
    closers.push(() => kube.close());
    kubectl = await adminKubectl(api);
    await installManifests(kubectl);
    const status = {
      observedGeneration: 1,
      desiredNumberScheduled: 1,
      updatedNumberScheduled: 1,
      numberReady: 1,
      currentNumberScheduled: 1,
      numberMisscheduled: 0,
    };
    await kube.patch(
      daemonSets,
      { namespace: "squall-system", name: "squall-image" },
      { status },
      { type: "merge", subresource: "status" },
    );
    await serveWebhook();
    asController = connectKube({ process: "controller", version: "0", kubeconfig: await controllerKubeconfig(api, kubectl) });
    closers.push(() => asController.close());
    const cache = { kube: asController, clock: systemClock, log: silentLog };
    const namespaceCache = new Reflector({ ...cache, resource: namespaces });
    const podCache = new Reflector({ ...cache, resource: pods });
    for (const reflector of [namespaceCache, podCache]) {
      reflector.start();
      closers.push(() => reflector.close());
      await reflector.synced();
    }
    const { signal } = new AbortController();
    const checks = startInjectionChecks({ ...cache, namespaces: namespaceCache, pods: () => podCache.list(), signal });
    closers.push(() => checks.close());
  });
  after(async () => {
    await webhook?.close();
    for (const close of closers.toReversed()) await close();
  });

  /** The webhook as it runs in its pod, but for its address. */
  async function serveWebhook(): Promise<void> {
    const now = new Date();
    const credential = await createAuthority({ now, lifetimeMs: 3_600_000 });
    const { certificate, key } = await openAuthority(credential).issueServer(["localhost"], { now, lifetimeMs: 3_600_000 });
    const tlsFolder = await mkdtemp(join(tmpdir(), "squall-tls-"));
    closers.push(() => rm(tlsFolder, { recursive: true }));
    await Promise.all([writeFile(join(tlsFolder, "tls.crt"), certificate), writeFile(join(tlsFolder, "tls.key"), key)]);
    const [port = 0, metricsPort = 0] = await findFreePorts(2);
    const environment = {
      SQUALL_SIDECAR_IMAGE: "squall:0.1.0",
      SQUALL_TLS_FOLDER: tlsFolder,
      SQUALL_PORT: String(port),
      SQUALL_METRICS_PORT: String(metricsPort),
      SQUALL_LAME_DUCK: "1ms",
    };
    runAgain = () => runWebhook(readWebhookConfig(environment, []), { kube, clock: systemClock, log: silentLog });
    webhook = await runAgain();
    await pointWebhooks(kube, `https://localhost:${port}`, credential.certificate);
  }

  const verdictText = async (name: string): Promise<string | undefined> =>
    (await kube.get(namespaces, { name })).metadata.annotations?.["squall.dev/injection-verdict"];
  /** Waits for `allowed`, or who refuses, of each class. */
  async function comesTo(name: string, wanted: Partial<Record<PodClass, string>>, timeoutMs = patience.timeoutMs): Promise<void> {
    const isSo = async (): Promise<boolean | string> => {
      const text = await verdictText(name);
      const verdict = parseVerdict(text);
      const is = Object.entries(wanted).every(([quality, word]) => {
        const found = verdict[quality as PodClass];
        return (found?.is === "refused" ? found.by : found?.is) === word;
      });
      return is || String(text);
    };
    await waitUntil(`${name} has the verdict ${JSON.stringify(wanted)}`, isSo, { timeoutMs });
  }

  async function makeNamespace(labels: Readonly<Record<string, string>> = {}, annotations: object = {}): Promise<string> {
    const name = `checked-${(number += 1)}`;
    await kube.create(namespaces, { metadata: { name, labels: { "squall.dev/inject": "enabled", ...labels }, annotations } });
    return name;
  }

  /** As the ReplicaSet controller makes one. Gives what the injector wrote on it. */
  async function makePod(namespace: string, quality: Quality, { isHardened = false } = {}): Promise<string | undefined> {
    const owner = { apiVersion: "apps/v1", kind: "ReplicaSet", name: "web-1", uid: `uid-of-${namespace}`, controller: true };
    const container = { allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } };
    const { metadata, spec } = await kube.create(podTrials, {
      metadata: { namespace, name: `web-${(number += 1)}`, labels: { "squall.dev/inject": "enabled" }, ownerReferences: [owner] },
      spec: {
        serviceAccountName: "default",
        ...(isHardened && { securityContext: { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } } }),
        containers: [{ name: "app", image: "app:1", resources: shapes[quality], ...(isHardened && { securityContext: container }) }],
      },
    });
    const injected = metadata.annotations?.["squall.dev/injected"];
    assert.equal(Array.isArray(spec["initContainers"]), injected?.endsWith(" network") ?? false);
    return injected;
  }
  /** The webhook hears of a new verdict a moment later than the person who asks. */
  const injectorSays = (namespace: string, quality: Quality, wanted: RegExp, options = {}): Promise<void> =>
    waitUntil(
      `a ${quality} pod of ${namespace} comes back as ${wanted.source}`,
      async () => {
        const found = (await makePod(namespace, quality, options).catch((error: unknown) => String(error))) ?? "";
        return wanted.test(found) || found;
      },
      patience,
    );
  const isInjected = /^\S+ network$/;
  const isLeft = /^NamespaceRefuses$/;

  async function setQuota(
    namespace: string,
    hard: Readonly<Record<string, string>>,
    used: Readonly<Record<string, string>>,
  ): Promise<void> {
    const ref = { namespace, name: "team" };
    await kube.create(quotas, { metadata: ref, spec: { hard } }).catch((error: unknown) => {
      if (!isKubeError(error, "already-exists")) throw error;
    });
    // the part of the quota controller, which does not run here
    await kube.patch(quotas, ref, { status: { hard, used } }, { type: "merge", subresource: "status" });
  }

  it("injects where nothing refuses it, in every class", async () => {
    const name = await makeNamespace();
    await comesTo(name, { BestEffort: "allowed", Burstable: "allowed", Guaranteed: "allowed" });
    for (const quality of ["BestEffort", "Burstable", "Guaranteed"] as const) await injectorSays(name, quality, isInjected);
  });

  for (const level of ["baseline", "restricted"]) {
    it(`leaves pods of a namespace of Pod Security level ${level} as they are, until the level is lifted`, async () => {
      const name = await makeNamespace({ [enforced]: level });
      await comesTo(name, { BestEffort: "PodSecurity", Burstable: "PodSecurity", Guaranteed: "PodSecurity" });
      await injectorSays(name, "BestEffort", isLeft, { isHardened: true });
      const find = async () => (await kube.list(events, { namespace: name })).items.find(({ reason }) => reason === "NamespaceRefuses");
      await waitUntil("the owner hears of it", async () => (await find()) !== undefined, patience);
      const event = await find();
      assert.equal(event?.involvedObject.kind, "ReplicaSet");
      assert.match(
        event?.message ?? "",
        /^Pods get no sidecar: The policies of the namespace refuse such a pod with a sidecar\. PodSecurity: violates PodSecurity/,
      );
      await kube.patch(namespaces, { name }, { metadata: { labels: { [enforced]: null } } }, { type: "merge" });
      await comesTo(name, { BestEffort: "allowed" });
      await injectorSays(name, "BestEffort", isInjected);
    });
  }

  it("shows the reason to whoever types kubectl", async () => {
    const name = await makeNamespace({ [enforced]: "baseline" });
    await comesTo(name, { BestEffort: "PodSecurity" });
    const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "typed", namespace: name, labels: { "squall.dev/inject": "enabled" } } };
    const stdin = JSON.stringify({ ...pod, spec: { serviceAccountName: "default", containers: [{ name: "app", image: "app:1" }] } });
    await injectorSays(name, "BestEffort", isLeft);
    const { stderr } = await kubectl.attempt(["create", "-f", "-"], { stdin });
    assert.match(
      stderr,
      /Warning: squall: pod typed gets no sidecar: NamespaceRefuses: .*violates PodSecurity "baseline:latest".*squall-sidecar/,
    );
  });

  it("tells classes apart where a quota wants limits that the sidecar of one does not have", async () => {
    const name = await makeNamespace();
    const hard = { "limits.cpu": "1", "requests.cpu": "1" };
    await setQuota(name, hard, { "limits.cpu": "0", "requests.cpu": "0" });
    await comesTo(name, { BestEffort: "unknown", Burstable: "ResourceQuota", Guaranteed: "allowed" });
    await injectorSays(name, "Burstable", isLeft);
    await injectorSays(name, "Guaranteed", isInjected);
  });

  it("follows a quota that fills up and is emptied", async () => {
    const name = await makeNamespace();
    const hard = { "requests.cpu": "1" };
    await setQuota(name, hard, { "requests.cpu": "0" });
    await comesTo(name, { Guaranteed: "allowed" });
    // room for a pod of 20m, and none for its sidecar
    await setQuota(name, hard, { "requests.cpu": "970m" });
    await comesTo(name, { Guaranteed: "ResourceQuota" });
    await injectorSays(name, "Guaranteed", isLeft);
    // now there is room for nothing, which says nothing about sidecars
    await setQuota(name, hard, { "requests.cpu": "1" });
    await sleep(8_000);
    await comesTo(name, { Guaranteed: "ResourceQuota" });
    await setQuota(name, hard, { "requests.cpu": "100m" });
    await comesTo(name, { Guaranteed: "allowed" });
    await injectorSays(name, "Guaranteed", isInjected);
  });

  it("leaves pods as they are where a LimitRange allows less than the sidecar has, until the namespace says what it may have", async () => {
    const name = await makeNamespace();
    const limits = [{ type: "Container", max: { memory: "100Mi" }, min: { memory: "18Mi" } }];
    await kube.create(ranges, { metadata: { namespace: name, name: "team" }, spec: { limits } });
    await comesTo(name, { Burstable: "LimitRange", Guaranteed: "LimitRange" });
    await injectorSays(name, "Guaranteed", isLeft);
    await kube.patch(namespaces, { name }, { metadata: { annotations: { "squall.dev/sidecar-memory": "96Mi" } } }, { type: "merge" });
    await comesTo(name, { Burstable: "allowed", Guaranteed: "allowed" });
    await injectorSays(name, "Burstable", isInjected);
  });

  it("leaves only volumes as they are where a LimitRange allows a sidecar, and none that serves any", async () => {
    const name = await makeNamespace();
    const limits = [{ type: "Container", max: { memory: "200Mi" } }];
    await kube.create(ranges, { metadata: { namespace: name, name: "team" }, spec: { limits } });
    await comesTo(name, { Guaranteed: "allowed", "Guaranteed with volumes": "LimitRange" });
    const volumes = { volumes: [{ name: "data", emptyDir: {} }] };
    const makeStore = async (): Promise<string | undefined> => {
      const container = { name: "app", image: "app:1", resources: shapes.Guaranteed, volumeMounts: [{ name: "data", mountPath: "/data" }] };
      const { metadata } = await kube.create(podTrials, {
        metadata: {
          namespace: name,
          name: `store-${(number += 1)}`,
          labels: { "squall.dev/inject": "enabled" },
          annotations: { "squall.dev/volumes": "data" },
        },
        spec: { serviceAccountName: "default", containers: [container], ...volumes },
      });
      return metadata.annotations?.["squall.dev/injected"];
    };
    const comesBackAs = (wanted: RegExp): Promise<void> =>
      waitUntil(
        `a pod with a volume comes back as ${wanted.source}`,
        async () => {
          const found = (await makeStore().catch((error: unknown) => String(error))) ?? "";
          return wanted.test(found) || found;
        },
        patience,
      );
    await comesBackAs(isInjected);
    await kube.patch(namespaces, { name }, { metadata: { annotations: { "squall.dev/sidecar-memory": "64Mi" } } }, { type: "merge" });
    await comesTo(name, { Guaranteed: "allowed", "Guaranteed with volumes": "allowed" });
    await comesBackAs(/^\S+ network io$/);
  });

  it("keeps to the largest ratio of limit to request", async () => {
    const name = await makeNamespace();
    await kube.create(ranges, {
      metadata: { namespace: name, name: "team" },
      spec: { limits: [{ type: "Container", maxLimitRequestRatio: { memory: "2" } }] },
    });
    await comesTo(name, { Burstable: "LimitRange", Guaranteed: "allowed" });
    await injectorSays(name, "Burstable", isLeft);
    await kube.delete(ranges, { namespace: name, name: "team" });
    // the API server may go on with what it looked up for half a minute
    await comesTo(name, { Burstable: "allowed" }, 60_000);
  });

  it("hears what other admission policies say", async () => {
    const name = await makeNamespace();
    const policy = {
      apiVersion: "admissionregistration.k8s.io/v1",
      kind: "ValidatingAdmissionPolicy",
      metadata: { name: "no-squall" },
      spec: {
        matchConstraints: { resourceRules: [{ apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["pods"] }] },
        validations: [
          {
            expression: "!has(object.spec.initContainers) || object.spec.initContainers.all(c, !c.image.startsWith('squall'))",
            message: "images come from our registry",
          },
        ],
      },
    };
    const binding = {
      ...policy,
      kind: "ValidatingAdmissionPolicyBinding",
      spec: {
        policyName: "no-squall",
        validationActions: ["Deny"],
        matchResources: { namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": name } } },
      },
    };
    await comesTo(name, { BestEffort: "allowed" });
    for (const object of [policy, binding]) await kubectl(["create", "-f", "-"], { stdin: JSON.stringify(object) });
    await waitUntil(
      "the policy is in force",
      () =>
        makePod(name, "BestEffort").then(
          () => false,
          () => true,
        ),
      patience,
    );
    // no watch tells of a policy; a change of the namespace has it looked at, as ten minutes would
    await kube.patch(namespaces, { name }, { metadata: { labels: { "pod-security.kubernetes.io/warn": "baseline" } } }, { type: "merge" });
    await comesTo(name, { BestEffort: "AdmissionPolicy" });
    await injectorSays(name, "BestEffort", isLeft);
  });

  it("takes its verdict back when the namespace opts out", async () => {
    const name = await makeNamespace();
    await comesTo(name, { BestEffort: "allowed" });
    await kube.patch(namespaces, { name }, { metadata: { labels: { "squall.dev/inject": null } } }, { type: "merge" });
    await waitUntil("the annotation is gone", async () => (await verdictText(name)) ?? true, patience);
  });

  it("keeps what is known while the injector is away, and judges what changed once it is back", async () => {
    const name = await makeNamespace({ [enforced]: "baseline" });
    await comesTo(name, { BestEffort: "PodSecurity" });
    await webhook?.close();
    webhook = undefined;
    const fresh = await makeNamespace();
    await kube.patch(namespaces, { name }, { metadata: { labels: { [enforced]: null } } }, { type: "merge" });
    await sleep(3_000);
    assert.equal(parseVerdict(await verdictText(name)).BestEffort?.is, "refused");
    assert.equal(await verdictText(fresh), undefined);
    // pods are not held up meanwhile
    assert.equal(await makePod(fresh, "BestEffort"), undefined);
    webhook = await runAgain();
    await comesTo(name, { BestEffort: "allowed" });
    await comesTo(fresh, { BestEffort: "allowed" });
  });

  describe("the controller's account", () => {
    const pod = (namespace: string) => ({ metadata: { namespace, name: "real" }, spec: { containers: [{ name: "a", image: "a" }] } });
    const isRefused = (pattern: RegExp) => (error: unknown) => isKubeError(error, "forbidden") && pattern.test(error.message);

    it("creates pods in dry runs only", async () => {
      const name = await makeNamespace();
      await assert.rejects(asController.create(podTrials, pod(name)), isRefused(/the controller of Squall creates pods in dry runs only/));
      await asController.create(podTrials, pod(name), { dryRun: true });
    });

    it("changes nothing of a namespace but the verdict", async () => {
      const name = await makeNamespace({}, { owner: "team" });
      const patch = (metadata: object) => asController.patch(namespaces, { name }, { metadata }, { type: "merge" });
      const only = isRefused(/changes only the annotation squall\.dev\/injection-verdict/);
      await assert.rejects(patch({ labels: { "squall.dev/inject": null } }), only);
      await assert.rejects(patch({ labels: { [enforced]: "privileged" } }), only);
      await assert.rejects(patch({ annotations: { owner: "me" } }), only);
      await assert.rejects(patch({ annotations: { owner: null } }), only);
      await assert.rejects(patch({ annotations: { more: "x" } }), only);
      await assert.rejects(patch({ finalizers: ["a/b"] }), only);
      await patch({ annotations: { "squall.dev/injection-verdict": "{}" } });
    });
  });
});

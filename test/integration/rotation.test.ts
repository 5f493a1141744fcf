import assert from "node:assert/strict";
import { podUri } from "../../certs/identity.ts";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseAllDocuments } from "yaml";
import * as z from "zod";
import { Agent } from "../../agent/agent.ts";
import { createPlannedCarrier } from "../../agent/planned-carrier.ts";
import { createExecutor } from "../../agent/executor.ts";
import type { ServerIdentity } from "../../certs/grpc-server-credentials.ts";
import { createAgentKey } from "../../certs/keys.ts";
import type { RotationRules } from "../../certs/rotation.ts";
import { systemClock } from "../../common/clock.ts";
import { silentLog } from "../../common/log.ts";
import { CONTROLLER_ACCOUNT } from "../../common/names.ts";
import { createDial } from "../../controller/agents/dial.ts";
import { Dispatcher, type Wish } from "../../controller/agents/dispatcher.ts";
import { caConfigMapScope } from "../../controller/certificates/ca-config-maps.ts";
import { CertificateKeeper } from "../../controller/certificates/keeper.ts";
import { createAccessReviews } from "../../kube/access.ts";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { isKubeError } from "../../kube/errors.ts";
import { experimentResource } from "../../kube/experiments.ts";
import { Reflector } from "../../kube/reflector.ts";
import { configMaps, namespaces, resourceOf, secrets } from "../../kube/resources.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import { FaultState } from "../../proto/gen/agent.ts";
import { createMetrics } from "../../webhook/metrics.ts";
import { createReviewers } from "../../webhook/reviewers.ts";
import { serveReviews, type WebhookServer } from "../../webhook/server.ts";
import { startTestApiServer, type TestApiServer } from "../support/api-server.ts";
import { serveAgent } from "../support/agent-server.ts";
import { createFakeFamily, FakeKernel } from "../support/fake-family.ts";

/**
 * A year of certificates in half a minute, with admissions and streams under way all the time. Ages count in whole seconds from a tenth of a
 * life before the birth, so 6 s of publishing are at least 3.4: agents renew every 2 s.
 */
const RULES: RotationRules = { authorityLifetimeMs: 16_000, publishMs: 6_000, leafLifetimeMs: 6_000, marginMs: 1_000, visitEveryMs: 200 };
const STORY_MS = 30_000;
const AGENTS = 10;
const AGENT_PORT = 19_446;
const SHOP = "rotation-shop";

const any = z.looseObject({ metadata: z.looseObject({ name: z.string() }) });
const raw = (group: string, kind: string, plural: string, isNamespaced = false) =>
  resourceOf({ group, version: "v1", kind, plural, isNamespaced }, any);
const manifests = (file: string): readonly { readonly kind: string; readonly metadata: object }[] =>
  parseAllDocuments(readFileSync(join(import.meta.dirname, "../..", file), "utf8")).map((document) => document.toJS() as never);

describe("rotation of every certificate under load, against a real API server", function () {
  this.timeout(120_000);
  let api: TestApiServer;
  let kube: KubeConnection;
  let keeper: CertificateKeeper;
  let webhook: WebhookServer;
  const closers: (() => Promise<void>)[] = [];

  before(async () => {
    api = await startTestApiServer();
    closers.push(() => api.close());
    kube = connectKube({ process: "test", version: "0", kubeconfig: api.kubeconfig });
    closers.push(() => kube.close());
    await kube.create(namespaces, { metadata: { name: SHOP, labels: { "squall.dev/inject": "enabled" } } });
    await kube.create(namespaces, { metadata: { name: "squall-system" } });
    for (const crd of manifests("manifests/crds/networkchaos.yaml"))
      await kube.create(raw("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions"), crd);
    const cache = { kube, clock: systemClock, log: silentLog };
    const namespaceCache = new Reflector({ ...cache, resource: namespaces });
    const caConfigMaps = new Reflector({ ...cache, resource: configMaps, scope: caConfigMapScope });
    namespaceCache.start();
    caConfigMaps.start();
    closers.push(
      () => namespaceCache.close(),
      () => caConfigMaps.close(),
    );
    await Promise.all([namespaceCache.synced(), caConfigMaps.synced()]);
    keeper = new CertificateKeeper({ ...cache, namespaces: namespaceCache, caConfigMaps, rules: RULES });
    closers.push(() => keeper.close());
    keeper.start();
    await keeper.ready();
    await serveWebhook();
  });
  after(async () => {
    for (const close of closers.toReversed()) await close();
  });

  const readServing = async (): Promise<{ readonly cert: string; readonly key: string }> => {
    const { data } = await kube.get(secrets, { namespace: "squall-system", name: "squall-webhook-tls" });
    const text = (name: string): string => Buffer.from(data[name] ?? "", "base64").toString();
    return { cert: text("tls.crt"), key: text("tls.key") };
  };

  /** The webhooks as the manifests have them; their Service leads to loopback. The kubelet's part, renewing the files of a Secret, is played here. */
  async function serveWebhook(): Promise<void> {
    await waitUntil("there is a serving certificate", () => readServing().then(() => true), { timeoutMs: 10_000, mayFail: true });
    const serving = await readServing();
    const policy = { admitUnsupported: false, controllerAccount: CONTROLLER_ACCOUNT };
    const injector = { factsFor: () => assert.fail("no pod opted in"), onSkip: () => assert.fail("no pod opted in") };
    webhook = await serveReviews({
      reviewers: createReviewers({
        policy,
        kube,
        access: createAccessReviews({ kube, clock: systemClock }),
        limits: { policies: [], haltOn: () => undefined },
        labelsOf: () => undefined,
        injector,
        clock: systemClock,
      }),
      certificate: serving,
      port: 0,
      metrics: createMetrics(),
      log: silentLog,
    });
    closers.push(() => webhook.close());
    await kube.create(raw("", "Service", "services", true), {
      metadata: { namespace: "squall-system", name: "squall-webhook" },
      spec: { type: "ExternalName", externalName: "localhost" },
    });
    const group = "admissionregistration.k8s.io";
    for (const document of manifests("manifests/webhook.yaml")) {
      const { kind, metadata, webhooks } = document as typeof document & {
        readonly webhooks?: readonly { readonly name: string; readonly clientConfig: { readonly service: object } }[];
      };
      if (webhooks === undefined) continue;
      const body = {
        metadata,
        webhooks: webhooks
          .filter(({ name }) => name !== "inject.squall.dev")
          .map((hook) => ({ ...hook, clientConfig: { service: { ...hook.clientConfig.service, port: webhook.port } } })),
      };
      await kube.create(raw(group, kind, `${kind.toLowerCase()}s`), body);
    }
  }

  /** Creates experiments as fast as answers come, good ones and bad ones; gives what came of them. */
  async function admit(signal: AbortSignal, failures: string[]): Promise<number> {
    let count = 0;
    while (!signal.aborted) {
      const isBad = count % 2 === 1;
      const spec = { action: "partition", mode: "all", selector: {}, ...(isBad && { duration: "soon" }) };
      count += 1;
      try {
        await kube.create(
          experimentResource("NetworkChaos"),
          { metadata: { namespace: SHOP, generateName: "a-" }, spec },
          { dryRun: true },
        );
        if (isBad) failures.push("a bad one was let in");
      } catch (error) {
        if (!isBad || !isKubeError(error) || !error.message.includes("InvalidSpec")) failures.push(String(error));
      }
    }
    return count;
  }

  /** An agent that renews as a sidecar does, with a key of its own each time. */
  async function startAgent(index: number): Promise<{ renewals: number }> {
    const uid = `u${index}`;
    const renew = async (): Promise<ServerIdentity> => {
      const key = await createAgentKey();
      const { certificate, trusted } = keeper.issueAgent(podUri({ namespace: SHOP, uid }), key.publicKey);
      return { certificate, key: key.privateKey, clientCas: trusted };
    };
    const kernel = new FakeKernel(systemClock);
    const family = createFakeFamily(kernel);
    const journal = { leftovers: [], add: () => Promise.resolve(), clear: () => Promise.resolve() };
    const executor = createExecutor({ family, programs: kernel, journal, log: silentLog });
    const agent = new Agent({
      targetUid: uid,
      version: "0",
      carrier: createPlannedCarrier({ family, executor, log: silentLog }),
      clock: systemClock,
      log: silentLog,
    });
    const server = await serveAgent({ agent, identity: await renew(), host: `127.2.0.${index + 1}`, port: AGENT_PORT });
    const state = { renewals: 0 };
    const timer = setInterval(() => {
      void renew().then((identity) => {
        server.renew(identity);
        state.renewals += 1;
      });
    }, RULES.leafLifetimeMs / 3);
    closers.push(async () => {
      clearInterval(timer);
      await agent.close();
      await server.close();
    });
    return state;
  }

  it("fails no admission, drops no stream and refuses no connection", async () => {
    const agents = await Promise.all(Array.from({ length: AGENTS }, (_, index) => startAgent(index)));
    const end = new AbortController();
    const trouble: string[] = [];
    let dials = 0;
    const dial = createDial({ credentials: () => keeper.currentCredentials(), port: AGENT_PORT });
    const dispatcher = new Dispatcher({
      leaderEpoch: 1,
      dial: (target) => {
        dials += 1;
        return dial(target);
      },
      locate: (uid) => ({ uid, uri: podUri({ namespace: SHOP, uid }), address: `127.2.0.${Number(uid.slice(1)) + 1}` }),
      clock: systemClock,
      log: { ...silentLog, warn: (fields, message) => void trouble.push(`${message} ${JSON.stringify(fields)}`) },
      signal: end.signal,
      mustLead: () => undefined,
      onPassport: () => undefined,
      onChange: () => undefined,
    });
    closers.push(async () => {
      end.abort();
      await dispatcher.close();
    });
    dispatcher.open();
    const wishes = (id: string, uids: readonly string[], isWanted: boolean): readonly Wish[] =>
      uids.map((agent) => ({
        agent,
        faultId: id,
        fault: isWanted
          ? {
              id,
              experimentUid: id,
              experiment: `NetworkChaos/${SHOP}/${id}`,
              leaseMs: 3_000,
              deadlineMs: undefined,
              family: { $case: "network", value: { rules: [], engine: 0, affectsProbes: false } },
            }
          : undefined,
      }));
    // All agents but the last are held by one stream for the whole story; the last is dialled anew again and again.
    const held = Array.from({ length: AGENTS - 1 }, (_, index) => `u${index}`);
    dispatcher.wish({ uid: "held", key: "held" }, wishes("held", held, true));
    const authorities = new Set<string>();
    const servings = new Set<string>();
    const watching = (async () => {
      while (!end.signal.aborted) {
        for (const pem of keeper.currentCredentials().trusted.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? [])
          authorities.add(pem);
        const serving = await readServing();
        if (!servings.has(serving.cert)) webhook.replaceCertificate(serving);
        servings.add(serving.cert);
        await sleep(300);
      }
    })();
    const redialling = (async () => {
      while (!end.signal.aborted) {
        for (const isWanted of [true, false]) {
          dispatcher.wish({ uid: "again", key: "again" }, wishes("again", [`u${AGENTS - 1}`], isWanted));
          await sleep(100);
        }
      }
    })();
    const failures: string[] = [];
    // the API server takes a moment to see new webhooks and their CAs
    await sleep(3_000);
    const loads = Array.from({ length: 4 }, () => admit(end.signal, failures));
    await sleep(STORY_MS);
    for (const uid of held) {
      const [report] = dispatcher.view(uid)?.reports.values() ?? [];
      assert.equal(report?.state, FaultState.ACTIVE, uid);
      assert.equal(report.interruptions, 0, uid);
    }
    end.abort();
    const admissions = (await Promise.all(loads)).reduce((sum, count) => sum + count, 0);
    await Promise.all([watching, redialling]);
    assert.deepEqual(failures.slice(0, 3), []);
    assert.deepEqual(trouble.slice(0, 3), []);
    assert.ok(admissions > 1_000, `${admissions} admissions`);
    assert.ok(authorities.size >= 4, `${authorities.size} CAs`);
    assert.ok(servings.size >= 8, `${servings.size} serving certificates`);
    assert.ok(agents.every(({ renewals }) => renewals >= 12));
    assert.ok(dials - held.length >= 100, `${dials} connections`);
  });
});

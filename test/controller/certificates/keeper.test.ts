import assert from "node:assert/strict";
import { podUri } from "../../../certs/identity.ts";
import { X509Certificate } from "node:crypto";
import { CONTROLLER_URI } from "../../../certs/identity.ts";
import { createAgentKey } from "../../../certs/keys.ts";
import { dnsNamesOf, uriOf } from "../../../certs/peer.ts";
import { silentLog } from "../../../common/log.ts";
import { CA_CONFIGMAP, CA_SECRET, SYSTEM_NAMESPACE, WEBHOOK_CONFIGURATION, WEBHOOK_SECRET } from "../../../common/names.ts";
import { caConfigMapScope } from "../../../controller/certificates/ca-config-maps.ts";
import { CertificateKeeper } from "../../../controller/certificates/keeper.ts";
import { KubeError } from "../../../kube/errors.ts";
import { Reflector } from "../../../kube/reflector.ts";
import {
  type ConfigMap,
  configMaps,
  mutatingWebhookConfigurations,
  type Namespace,
  namespaces,
  secrets,
  validatingWebhookConfigurations,
} from "../../../kube/resources.ts";
import { FakeClock, settle } from "../../support/fake-clock.ts";
import { FakeKube } from "../../support/fake-kube.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const caRef = { namespace: SYSTEM_NAMESPACE, name: CA_SECRET };
const tlsRef = { namespace: SYSTEM_NAMESPACE, name: WEBHOOK_SECRET };
const decode = (text: string | undefined): string => Buffer.from(text ?? "", "base64").toString();
const countCerts = (pem: string): number => pem.split("BEGIN CERTIFICATE").length - 1;

describe("CertificateKeeper", () => {
  let clock: FakeClock;
  let kube: FakeKube;
  let namespaceCache: Reflector<Namespace>;
  let configMapCache: Reflector<ConfigMap>;
  let keeper: CertificateKeeper;
  const lines: string[] = [];
  const log = { ...silentLog, info: (fields: object, message: string) => lines.push(JSON.stringify([fields, message])) };

  function build(): CertificateKeeper {
    return new CertificateKeeper({ kube, clock, log, namespaces: namespaceCache, caConfigMaps: configMapCache, random: () => 0 });
  }
  async function start(): Promise<void> {
    keeper.start();
    await keeper.ready();
    await calm();
  }
  /** Until no visit is under way: only between two of them does the keeper hold a timer. Keys are made in other threads, so this waits for real. */
  async function calm(): Promise<void> {
    for (let before = -1; before !== kube.requests.length; ) {
      before = kube.requests.length;
      await settle();
      while (clock.waiting === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
  /** One visit in each step. */
  async function pass(ms: number, stepMs: number): Promise<void> {
    for (let leftMs = ms; leftMs > 0; leftMs -= stepMs) {
      clock.freeze(stepMs);
      await clock.advance(0);
      await calm();
    }
  }
  const bundle = async (): Promise<string> =>
    decode((await kube.get(mutatingWebhookConfigurations, { name: WEBHOOK_CONFIGURATION })).webhooks[0]?.clientConfig.caBundle);
  const inNamespace = async (namespace: string): Promise<string | undefined> =>
    (await kube.get(configMaps, { namespace, name: CA_CONFIGMAP })).data["ca.crt"];
  const writes = (): number => kube.requests.filter(({ verb }) => verb !== "get" && verb !== "list" && verb !== "watch").length;

  beforeEach(async () => {
    clock = new FakeClock(new Date().toISOString());
    kube = new FakeKube({ now: () => clock.now() });
    const webhooks = [
      { name: "a.squall.dev", clientConfig: { service: { name: "squall-webhook" } } },
      { name: "b.squall.dev", clientConfig: {} },
    ];
    kube.seed(mutatingWebhookConfigurations, { metadata: { name: WEBHOOK_CONFIGURATION }, webhooks });
    kube.seed(validatingWebhookConfigurations, { metadata: { name: WEBHOOK_CONFIGURATION }, webhooks });
    kube.seed(namespaces, { metadata: { name: "shop", labels: { "squall.dev/inject": "enabled" } } });
    kube.seed(namespaces, { metadata: { name: "other" } });
    namespaceCache = new Reflector({ kube, resource: namespaces, clock, log: silentLog });
    configMapCache = new Reflector({ kube, resource: configMaps, scope: caConfigMapScope, clock, log: silentLog });
    namespaceCache.start();
    configMapCache.start();
    await Promise.all([namespaceCache.synced(), configMapCache.synced()]);
    keeper = build();
    lines.length = 0;
  });
  afterEach(() => Promise.all([keeper.close(), namespaceCache.close(), configMapCache.close()]));

  it("makes a CA and gives it to webhook configurations and opted-in namespaces", async () => {
    await start();
    const { trusted } = keeper.currentCredentials();
    assert.equal(countCerts(trusted), 1);
    for (const resource of [mutatingWebhookConfigurations, validatingWebhookConfigurations])
      for (const { clientConfig } of (await kube.get(resource, { name: WEBHOOK_CONFIGURATION })).webhooks)
        assert.equal(decode(clientConfig.caBundle), trusted);
    assert.equal(await inNamespace("shop"), trusted);
    await assert.rejects(inNamespace("other"));
    assert.deepEqual(kube.peek(mutatingWebhookConfigurations, { name: WEBHOOK_CONFIGURATION })?.["webhooks"], [
      { name: "a.squall.dev", clientConfig: { service: { name: "squall-webhook" }, caBundle: Buffer.from(trusted).toString("base64") } },
      { name: "b.squall.dev", clientConfig: { caBundle: Buffer.from(trusted).toString("base64") } },
    ]);
  });

  it("issues the webhook's certificate, its own, and those of agents", async () => {
    await start();
    const ca = new X509Certificate(keeper.currentCredentials().trusted);
    const webhook = new X509Certificate(decode((await kube.get(secrets, tlsRef)).data["tls.crt"]));
    assert.equal(dnsNamesOf(webhook)[0], "squall-webhook.squall-system.svc");
    assert.equal(webhook.verify(ca.publicKey), true);
    assert.equal(uriOf(new X509Certificate(keeper.currentCredentials().certificate)), CONTROLLER_URI);
    assert.equal(dnsNamesOf(new X509Certificate(keeper.enrolmentCredential().certificate))[0], "squall-enrolment.squall-system.svc");
    const agent = keeper.issueAgent(podUri({ namespace: "shop", uid: "u1" }), (await createAgentKey()).publicKey);
    assert.equal(uriOf(new X509Certificate(agent.certificate)), "spiffe://squall/ns/shop/pod/u1");
    assert.equal(agent.trusted, keeper.currentCredentials().trusted);
  });

  it("has nothing to write on the second visit", async () => {
    await start();
    const before = writes();
    await pass(120_000, 30_000);
    assert.equal(writes(), before);
  });

  it("uses the CA that is there, also when two leaders made one at the same moment", async () => {
    const other = build();
    keeper.start();
    other.start();
    await Promise.all([keeper.ready(), other.ready()]);
    assert.equal(keeper.currentCredentials().trusted, other.currentCredentials().trusted);
    await other.close();
    const third = build();
    third.start();
    await third.ready();
    assert.equal(third.currentCredentials().trusted, keeper.currentCredentials().trusted);
    await third.close();
  });

  it("repairs what others changed", async () => {
    await start();
    const { trusted } = keeper.currentCredentials();
    await kube.patch(
      mutatingWebhookConfigurations,
      { name: WEBHOOK_CONFIGURATION },
      [{ op: "replace", path: "/webhooks/0/clientConfig/caBundle", value: "" }],
      { type: "json" },
    );
    await kube.patch(secrets, tlsRef, { data: { "tls.crt": "anVuaw==" } }, { type: "merge" });
    await kube.patch(configMaps, { namespace: "shop", name: CA_CONFIGMAP }, { data: { "ca.crt": "junk" } }, { type: "merge" });
    await calm();
    assert.equal(await inNamespace("shop"), trusted, "at once: it is watched");
    await pass(30_000, 30_000);
    assert.equal(await bundle(), trusted);
    assert.doesNotThrow(() => new X509Certificate(decode(undefined) || trusted));
    assert.match(decode((await kube.get(secrets, tlsRef)).data["tls.crt"]), /BEGIN CERTIFICATE/);
  });

  it("follows namespaces that opt in and out, and leaves what it did not make", async () => {
    kube.seed(configMaps, { metadata: { namespace: "other", name: CA_CONFIGMAP }, data: { "ca.crt": "theirs" } });
    await settle();
    await start();
    kube.seed(namespaces, { metadata: { name: "new", labels: { "squall.dev/inject": "enabled" } } });
    kube.seed(namespaces, { metadata: { name: "shop" } });
    await calm();
    assert.equal(await inNamespace("new"), keeper.currentCredentials().trusted);
    assert.equal(kube.peek(configMaps, { namespace: "shop", name: CA_CONFIGMAP }), undefined);
    assert.equal(await inNamespace("other"), "theirs");
  });

  it("renews leaf certificates at half of their life, before anybody sees an old one", async () => {
    await start();
    const renewals: number[] = [];
    keeper.onRenewal(() => renewals.push(clock.now().getTime()));
    const first = keeper.currentCredentials();
    const webhook = decode((await kube.get(secrets, tlsRef)).data["tls.crt"]);
    await pass(11 * HOUR, HOUR);
    assert.equal(keeper.currentCredentials().certificate, first.certificate);
    await pass(2 * HOUR, HOUR);
    assert.notEqual(keeper.currentCredentials().certificate, first.certificate);
    assert.equal(keeper.currentCredentials().trusted, first.trusted);
    assert.notEqual(decode((await kube.get(secrets, tlsRef)).data["tls.crt"]), webhook);
    assert.equal(renewals.length, 1);
  });

  it("rotates the CA with both trusted for two days, and every leaf valid all the time", async () => {
    await start();
    const old = keeper.currentCredentials().trusted;
    clock.freeze(182 * DAY);
    await pass(2 * HOUR, HOUR);
    assert.equal(countCerts(keeper.currentCredentials().trusted), 1);
    let changes = 0;
    let signer = new X509Certificate(keeper.currentCredentials().certificate).issuer;
    for (let hour = 0; hour < 90; hour += 1) {
      await pass(HOUR, HOUR);
      const { trusted, certificate } = keeper.currentCredentials();
      const cas = trusted.split(/(?=-----BEGIN)/).map((pem) => new X509Certificate(pem));
      const leaves = [certificate, keeper.enrolmentCredential().certificate, decode((await kube.get(secrets, tlsRef)).data["tls.crt"])];
      for (const leaf of leaves.map((pem) => new X509Certificate(pem))) {
        assert.ok(
          cas.some((ca) => leaf.verify(ca.publicKey)),
          `hour ${hour}`,
        );
        assert.ok(leaf.validToDate > clock.now(), `hour ${hour}`);
      }
      assert.equal(await bundle(), trusted);
      assert.equal(await inNamespace("shop"), trusted);
      const issuer = new X509Certificate(certificate).issuer;
      if (issuer !== signer) changes += 1;
      signer = issuer;
    }
    assert.equal(changes, 1);
    assert.equal(countCerts(keeper.currentCredentials().trusted), 1);
    assert.notEqual(keeper.currentCredentials().trusted, old);
    assert.equal(Object.keys((await kube.get(secrets, caRef)).data).length, 2);
  }).timeout(30_000);

  it("comes back from an API server that was away, and does what it can meanwhile", async () => {
    kube.fail({ verb: "get", plural: "secrets", times: 3, error: new KubeError("unavailable", "down") });
    kube.fail({ verb: "patch", plural: "mutatingwebhookconfigurations", error: new KubeError("forbidden", "no") });
    keeper.start();
    await pass(3_000, 500);
    await keeper.ready();
    await pass(10_000, 500);
    assert.equal(await inNamespace("shop"), keeper.currentCredentials().trusted);
    assert.equal(await bundle(), keeper.currentCredentials().trusted);
  });

  it("does not make a new CA where the Secret cannot be read as ours", async () => {
    kube.seed(secrets, { metadata: caRef, data: { "tls.crt": "eA==" } });
    keeper.start();
    await pass(2_000, 500);
    assert.throws(() => keeper.currentCredentials(), /no CA yet/);
    assert.deepEqual(Object.keys((await kube.get(secrets, caRef)).data), ["tls.crt"]);
  });

  it("writes no key into the log", async () => {
    await start();
    assert.ok(lines.length >= 4);
    assert.doesNotMatch(lines.join("\n"), /PRIVATE|LS0tLS1/);
  });
});

import assert from "node:assert/strict";
import { sign, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import * as z from "zod";
import { createAgentKey, proveKey } from "../../certs/keys.ts";
import { uriOf } from "../../certs/peer.ts";
import { systemClock } from "../../common/clock.ts";
import { silentLog } from "../../common/log.ts";
import { caConfigMapScope } from "../../controller/certificates/ca-config-maps.ts";
import { CertificateKeeper } from "../../controller/certificates/keeper.ts";
import { startEnrolmentServer } from "../../controller/enrolment.ts";
import { writeEnrolmentEndpoint } from "../../controller/enrolment-endpoint.ts";
import { reviewToken } from "../../controller/token-review.ts";
import { connectKube, type KubeConnection } from "../../kube/client.ts";
import { Reflector } from "../../kube/reflector.ts";
import {
  configMaps,
  mutatingWebhookConfigurations,
  namespaces,
  type Pod,
  enrollingPods,
  pods,
  resourceOf,
  secrets,
  validatingWebhookConfigurations,
} from "../../kube/resources.ts";
import { waitUntil } from "../../lab/wait-until.ts";
import type { EnrolReply } from "../../proto/gen/agent.ts";
import { EnrolmentClient } from "../../proto/gen/services.ts";
import { startTestApiServer, type TestApiServer } from "../support/api-server.ts";

const core = { group: "", version: "v1", isNamespaced: true };
const serviceAccounts = resourceOf({ ...core, kind: "ServiceAccount", plural: "serviceaccounts" }, z.unknown());
const tokenRequests = resourceOf(
  { ...core, kind: "TokenRequest", plural: "serviceaccounts/default/token" },
  z.object({ status: z.object({ token: z.string() }) }),
);

describe("identity against a real API server", () => {
  let server: TestApiServer;
  let kube: KubeConnection;
  const namespace = "identity-shop";

  before(async () => {
    server = await startTestApiServer();
    kube = connectKube({ process: "test", version: "0", kubeconfig: server.kubeconfig });
    await kube.create(namespaces, { metadata: { name: namespace, labels: { "squall.dev/inject": "enabled" } } });
    await kube.create(namespaces, { metadata: { name: "squall-system" } });
    await kube.create(serviceAccounts, { metadata: { namespace, name: "default" } });
  });
  after(async () => {
    await kube.close();
    await server.close();
  });

  const makePod = (name: string): Promise<Pod> =>
    kube.create(pods, {
      metadata: { namespace, name },
      spec: { serviceAccountName: "default", containers: [{ name: "app", image: "app" }] },
    });

  async function tokenFor(pod: Pod | undefined, audience = "squall-enrolment"): Promise<string> {
    const { status } = await kube.create(tokenRequests, {
      apiVersion: "authentication.k8s.io/v1",
      metadata: { namespace },
      spec: {
        audiences: [audience],
        expirationSeconds: 600,
        ...(pod && { boundObjectRef: { apiVersion: "v1", kind: "Pod", name: pod.metadata.name, uid: pod.metadata.uid } }),
      },
    });
    return status.token;
  }

  /** The same token, signed by the API server's own key, as if it had been made so much earlier. */
  function age(token: string, seconds: number): string {
    const [header = "", payload = ""] = token.split(".");
    const claims = z
      .looseObject({ exp: z.number(), iat: z.number(), nbf: z.number() })
      .parse(JSON.parse(Buffer.from(payload, "base64url").toString()));
    const past = { ...claims, exp: claims.exp - seconds, iat: claims.iat - seconds, nbf: claims.nbf - seconds };
    const body = `${header}.${Buffer.from(JSON.stringify(past)).toString("base64url")}`;
    const key = readFileSync(join(dirname(server.kubeconfig), "pki", "tokens.key"), "utf8");
    return `${body}.${sign("sha256", Buffer.from(body), { key, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
  }

  it("learns from a bound token which pod it is of", async () => {
    const pod = await makePod("cart");
    assert.deepEqual(await reviewToken(kube, await tokenFor(pod)), {
      ok: true,
      pod: { namespace, name: "cart", uid: pod.metadata.uid, serviceAccount: "default" },
    });
  });

  it("refuses tokens for others, of no pod, of a pod that is gone, expired ones and junk", async () => {
    const pod = await makePod("refused");
    const foreign = await reviewToken(kube, await tokenFor(pod, "https://kubernetes.default.svc"));
    assert.equal(foreign.ok, false);
    assert.deepEqual(await reviewToken(kube, await tokenFor(undefined)), { ok: false, reason: "The token is not bound to a pod." });
    const token = await tokenFor(pod);
    assert.equal((await reviewToken(kube, token)).ok, true);
    assert.equal((await reviewToken(kube, age(token, 1))).ok, true);
    assert.equal((await reviewToken(kube, age(token, 86_400))).ok, false);
    assert.equal((await reviewToken(kube, `${token}x`)).ok, false);
    assert.equal((await reviewToken(kube, "junk")).ok, false);
    await kube.delete(pods, { namespace, name: "refused" }, { gracePeriodSeconds: 0 });
    // The API server keeps verdicts for ten seconds.
    await waitUntil("the token is refused", async () => !(await reviewToken(kube, token)).ok, { timeoutMs: 20_000 });
  });

  it("goes from an empty cluster to an enrolled agent, and writes nothing on the second visit", async () => {
    const rule = { operations: ["CREATE"], apiGroups: [""], apiVersions: ["v1"], resources: ["widgets"] };
    const webhook = {
      name: "a.squall.dev",
      clientConfig: { service: { namespace: "squall-system", name: "squall-webhook" } },
      rules: [rule],
      sideEffects: "None",
      admissionReviewVersions: ["v1"],
      failurePolicy: "Ignore",
    };
    for (const resource of [mutatingWebhookConfigurations, validatingWebhookConfigurations])
      await kube.create(resource, { metadata: { name: "squall-webhook" }, webhooks: [webhook] });
    const cache = { kube, clock: systemClock, log: silentLog };
    const namespaceCache = new Reflector({ ...cache, resource: namespaces });
    const caConfigMaps = new Reflector({ ...cache, resource: configMaps, scope: caConfigMapScope });
    namespaceCache.start();
    caConfigMaps.start();
    await Promise.all([namespaceCache.synced(), caConfigMaps.synced()]);
    const keeper = new CertificateKeeper({ ...cache, namespaces: namespaceCache, caConfigMaps });
    const again = new CertificateKeeper({ ...cache, namespaces: namespaceCache, caConfigMaps });
    try {
      keeper.start();
      await keeper.ready();
      const { trusted } = keeper.currentCredentials();
      const isTold = (): boolean | string => {
        const found = caConfigMaps.get(`${namespace}/squall-ca`)?.data["ca.crt"];
        return found === trusted || String(found);
      };
      await waitUntil("the namespace has the CA", isTold, { timeoutMs: 10_000 });
      for (const resource of [mutatingWebhookConfigurations, validatingWebhookConfigurations]) {
        const { webhooks } = await kube.get(resource, { name: "squall-webhook" });
        assert.equal(Buffer.from(webhooks[0]?.clientConfig.caBundle ?? "", "base64").toString(), trusted);
      }
      const [first] = await writeEnrolmentEndpoint(kube, { name: "controller", uid: "c", ips: ["10.244.0.5"] });
      const [second] = await writeEnrolmentEndpoint(kube, { name: "controller", uid: "c", ips: ["10.244.0.5"] });
      assert.deepEqual(second, first);

      const enrolment = await startEnrolmentServer({
        ...cache,
        address: "127.0.0.1:0",
        certificates: keeper,
        findPod: (ref, signal) => kube.get(enrollingPods, ref, signal),
        desiredFor: () => undefined,
        onPassport: () => undefined,
        isLeading: () => true,
      });
      const name = "squall-enrolment.squall-system.svc";
      const client = new EnrolmentClient(`127.0.0.1:${enrolment.port}`, credentials.createSsl(Buffer.from(trusted)), {
        "grpc.ssl_target_name_override": name,
      });
      try {
        const pod = await makePod("enrols");
        const key = await createAgentKey();
        const token = await tokenFor(pod);
        const request = {
          token,
          publicKey: key.publicKey,
          proof: proveKey(key, token),
          agentVersion: "0",
          addresses: [],
          passport: undefined,
          volumes: [],
        };
        const reply = await new Promise<EnrolReply>((resolve, reject) => {
          client.enrol(request, (error, answer) => (error === null ? resolve(answer) : reject(error)));
        });
        assert.equal(uriOf(new X509Certificate(reply.certificate)), `spiffe://squall/ns/${namespace}/pod/${pod.metadata.uid}`);
      } finally {
        client.close();
        await enrolment.close();
      }

      const versions = async (): Promise<readonly string[]> =>
        await Promise.all([
          kube.get(secrets, { namespace: "squall-system", name: "squall-ca" }).then(({ metadata }) => metadata.resourceVersion),
          kube.get(secrets, { namespace: "squall-system", name: "squall-webhook-tls" }).then(({ metadata }) => metadata.resourceVersion),
          kube.get(configMaps, { namespace, name: "squall-ca" }).then(({ metadata }) => metadata.resourceVersion),
        ]);
      const before = await versions();
      again.start();
      await again.ready();
      assert.equal(again.currentCredentials().trusted, trusted);
      await new Promise((resolve) => setTimeout(resolve, 500));
      assert.deepEqual(await versions(), before);
    } finally {
      await Promise.all([keeper.close(), again.close(), namespaceCache.close(), caConfigMaps.close()]);
    }
  });
});

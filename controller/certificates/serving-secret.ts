import { X509Certificate } from "node:crypto";
import type { Authority } from "../../certs/authority.ts";
import { dnsNamesOf } from "../../certs/peer.ts";
import { renewAt, validityOf } from "../../certs/renewal.ts";
import { services, SYSTEM_NAMESPACE, WEBHOOK_SECRET } from "../../common/names.ts";
import { isKubeError } from "../../kube/errors.ts";
import type { Kube } from "../../kube/kube.ts";
import { type Secret, secrets } from "../../kube/resources.ts";

/** Every name by which a Service may be called, the one that the API server uses first. */
export const dnsNamesOfService = (service: string): readonly string[] => [
  `${service}.${SYSTEM_NAMESPACE}.svc`,
  `${service}.${SYSTEM_NAMESPACE}.svc.cluster.local`,
  `${service}.${SYSTEM_NAMESPACE}`,
];

const REF = { namespace: SYSTEM_NAMESPACE, name: WEBHOOK_SECRET };

export interface ServingSecretInput {
  readonly authority: Authority;
  /** PEM of the CAs that callers know. */
  readonly trusted: string;
  readonly now: Date;
  readonly lifetimeMs: number;
}

/** Keeps the webhook's serving certificate fresh in its Secret. Says whether it wrote a new one. */
export async function keepServingSecret(kube: Kube, input: ServingSecretInput, signal: AbortSignal): Promise<boolean> {
  const found = await readSecret(kube, signal);
  if (found !== undefined && isGood(found, input)) return false;
  const names = dnsNamesOfService(services.webhook);
  const { certificate, key } = await input.authority.issueServer(names, input);
  const data = { "tls.crt": Buffer.from(certificate).toString("base64"), "tls.key": Buffer.from(key).toString("base64") };
  if (found === undefined)
    await kube.create(
      secrets,
      { metadata: { ...REF, labels: { "app.kubernetes.io/part-of": "squall" } }, type: "kubernetes.io/tls", data },
      {},
      signal,
    );
  else await kube.patch(secrets, REF, { metadata: { resourceVersion: found.metadata.resourceVersion }, data }, { type: "merge" }, signal);
  return true;
}

async function readSecret(kube: Kube, signal: AbortSignal): Promise<Secret | undefined> {
  try {
    return await kube.get(secrets, REF, signal);
  } catch (error) {
    if (isKubeError(error, "not-found")) return undefined;
    throw error;
  }
}

function isGood({ data }: Secret, { trusted, now }: ServingSecretInput): boolean {
  const pem = Buffer.from(data["tls.crt"] ?? "", "base64").toString();
  try {
    const certificate = new X509Certificate(pem);
    const isFresh = now.getTime() < renewAt(validityOf(pem)).getTime();
    const hasNames = dnsNamesOf(certificate).join() === dnsNamesOfService(services.webhook).join();
    return isFresh && hasNames && (data["tls.key"] ?? "") !== "" && isSignedByAny(certificate, trusted);
  } catch {
    // Whatever is in there, it is no certificate, so it is replaced.
    return false;
  }
}

function isSignedByAny(certificate: X509Certificate, trusted: string): boolean {
  const pems = trusted.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return pems.some((pem) => certificate.verify(new X509Certificate(pem).publicKey));
}

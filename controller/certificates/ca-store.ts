import { createHash } from "node:crypto";
import { createAuthority, type Credential } from "../../certs/authority.ts";
import { validityOf } from "../../certs/renewal.ts";
import { planRotation, type RotationRules, type StoredAuthority } from "../../certs/rotation.ts";
import { CA_SECRET, SYSTEM_NAMESPACE } from "../../common/names.ts";
import { isKubeError } from "../../kube/errors.ts";
import type { Kube } from "../../kube/kube.ts";
import { type Secret, secrets } from "../../kube/resources.ts";

/** The CAs as they are now. Holds keys: never log it. */
export interface TrustStore {
  /** Signs from now on. */
  readonly signer: Credential;
  /** PEM of every CA that verifiers must know, oldest first. */
  readonly trusted: string;
  /** What changed in this visit, for the log. */
  readonly change: "none" | "made" | "rotated";
}

const REF = { namespace: SYSTEM_NAMESPACE, name: CA_SECRET };

type Entry = StoredAuthority & Credential;

/**
 * Reads the CAs from their Secret, makes the first one, and moves their rotation on. Two processes that do it at once end up
 * with the same CA: creation and changes are guarded. Throws where the Secret cannot be read as ours; a person has to look
 * then, for a new CA would cut off every agent.
 */
export async function keepTrustStore(kube: Kube, now: Date, rules: RotationRules, signal: AbortSignal): Promise<TrustStore> {
  const found = await readSecret(kube, signal);
  if (found === undefined) return await makeFirst(kube, now, rules, signal);
  const entries = entriesOf(found);
  const before = planRotation(entries, now, rules);
  if (!before.isNewOneDue) {
    const dropped = entries.filter(({ id }) => !before.trusted.includes(id));
    if (dropped.length === 0) return storeOf(entries, before, "none");
    await writeEntries(kube, found, { added: [], dropped }, signal);
    return storeOf(entries, before, "rotated");
  }
  const next = await newEntry(now, rules);
  const all = [...entries, next];
  const plan = planRotation(all, now, rules);
  const dropped = entries.filter(({ id }) => !plan.trusted.includes(id));
  await writeEntries(kube, found, { added: [next], dropped }, signal);
  return storeOf(all, plan, "rotated");
}

async function readSecret(kube: Kube, signal: AbortSignal): Promise<Secret | undefined> {
  try {
    return await kube.get(secrets, REF, signal);
  } catch (error) {
    if (isKubeError(error, "not-found")) return undefined;
    throw error;
  }
}

async function makeFirst(kube: Kube, now: Date, rules: RotationRules, signal: AbortSignal): Promise<TrustStore> {
  const first = await newEntry(now, rules);
  const body = { metadata: { ...REF, labels: { "app.kubernetes.io/part-of": "squall" } }, type: "Opaque", data: dataOf([first]) };
  try {
    await kube.create(secrets, body, {}, signal);
  } catch (error) {
    // Another leader was quicker: its CA is the one.
    if (!isKubeError(error, "already-exists")) throw error;
    return await keepTrustStore(kube, now, rules, signal);
  }
  return storeOf([first], planRotation([first], now, rules), "made");
}

async function writeEntries(
  kube: Kube,
  found: Secret,
  { added, dropped }: { readonly added: readonly Entry[]; readonly dropped: readonly Entry[] },
  signal: AbortSignal,
): Promise<void> {
  const gone = Object.fromEntries(dropped.flatMap(({ id }) => [`${id}.crt`, `${id}.key`].map((key) => [key, null])));
  const patch = { metadata: { resourceVersion: found.metadata.resourceVersion }, data: { ...dataOf(added), ...gone } };
  await kube.patch(secrets, REF, patch, { type: "merge" }, signal);
}

async function newEntry(now: Date, { authorityLifetimeMs }: RotationRules): Promise<Entry> {
  const credential = await createAuthority({ now, lifetimeMs: authorityLifetimeMs });
  const id = `ca-${createHash("sha256").update(credential.certificate).digest("hex").slice(0, 12)}`;
  return { ...credential, ...validityOf(credential.certificate), id };
}

function dataOf(entries: readonly Entry[]): Record<string, string> {
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  return Object.fromEntries(
    entries.flatMap(({ id, certificate, key }) => [
      [`${id}.crt`, base64(certificate)],
      [`${id}.key`, base64(key)],
    ]),
  );
}

function entriesOf({ data }: Secret): readonly Entry[] {
  const text = (key: string): string => Buffer.from(data[key] ?? "", "base64").toString();
  const ids = Object.keys(data).flatMap((key) => /^(ca-[0-9a-f]{12})\.crt$/.exec(key)?.[1] ?? []);
  if (ids.length === 0)
    throw new Error(`Secret ${SYSTEM_NAMESPACE}/${CA_SECRET} has no CA of ours. Delete it, and a new CA is made; agents enrol again.`);
  return ids.map((id) => {
    const certificate = text(`${id}.crt`);
    return { id, certificate, key: text(`${id}.key`), ...validityOf(certificate) };
  });
}

function storeOf(entries: readonly Entry[], plan: ReturnType<typeof planRotation>, change: TrustStore["change"]): TrustStore {
  const signer = entries.find(({ id }) => id === plan.signer);
  if (signer === undefined) throw new Error(`Every CA in Secret ${SYSTEM_NAMESPACE}/${CA_SECRET} has expired.`);
  const trusted = plan.trusted.map((id) => entries.find((entry) => entry.id === id)?.certificate ?? "").join("");
  return { signer: { certificate: signer.certificate, key: signer.key }, trusted, change };
}

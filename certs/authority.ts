import { createPrivateKey, createPublicKey, generateKeyPair, randomBytes, X509Certificate } from "node:crypto";
import { promisify } from "node:util";
import { createAgentKey } from "./keys.ts";
import { makeCertificate, type Purpose, toPem } from "./x509.ts";

/** A certificate with its key, both PEM. The key is PKCS #8. */
export interface Credential {
  readonly certificate: string;
  readonly key: string;
}

/** How long a certificate is good for, counted from now. It begins five minutes ago, or a tenth of its life, for clocks that are behind. */
export interface Validity {
  readonly now: Date;
  readonly lifetimeMs: number;
}

const CLOCK_SKEW_MS = 5 * 60_000;
const beginOf = ({ now, lifetimeMs }: Validity): Date => new Date(now.getTime() - Math.min(CLOCK_SKEW_MS, lifetimeMs / 10));

/** Signs certificates in the name of one CA. */
export interface Authority {
  /** The CA's own certificate, PEM. */
  readonly certificate: string;
  /** For a server with these DNS names; with a key of its own. */
  issueServer(dnsNames: readonly string[], validity: Validity): Promise<Credential>;
  /** For a client with this URI; with a key of its own. */
  issueClient(uri: string, validity: Validity): Promise<Credential>;
  /** For an agent that made its own key and serves under this URI. PEM. `publicKey` is the DER of its SubjectPublicKeyInfo. */
  issueAgent(uri: string, publicKey: Buffer, validity: Validity): string;
}

const generate = promisify(generateKeyPair);

/** Makes a CA: an RSA-2048 key (in a quarter of a second, off the event loop) and a certificate that it signed itself. */
export async function createAuthority({ now, lifetimeMs }: Validity): Promise<Credential> {
  const { privateKey, publicKey } = await generate("rsa", { modulusLength: 2048 });
  // Each CA has a name of its own, so that a verifier with two of them in its bundle knows which one signed.
  const commonName = `Squall CA ${randomBytes(6).toString("hex")}`;
  const der = makeCertificate(
    {
      commonName,
      purpose: "authority",
      publicKey: publicKey.export({ type: "spki", format: "der" }),
      notBefore: beginOf({ now, lifetimeMs }),
      notAfter: new Date(now.getTime() + lifetimeMs),
    },
    { commonName, key: privateKey },
  );
  return { certificate: toPem(der), key: privateKey.export({ type: "pkcs8", format: "pem" }).toString() };
}

/** Reads a CA. Throws when certificate and key do not belong together or are no CA; the message never has the key. */
export function openAuthority({ certificate, key }: Credential): Authority {
  const parsed = new X509Certificate(certificate);
  const issuer = { commonName: commonNameOf(parsed), key: parseKey(key) };
  if (!parsed.ca || !parsed.publicKey.equals(createPublicKey(issuer.key)))
    throw new Error("The CA's certificate and key do not belong together.");
  const caEnd = parsed.validToDate.getTime();

  const make = (
    request: { purpose: Purpose; dnsNames?: readonly string[]; uris?: readonly string[] },
    publicKey: Buffer,
    validity: Validity,
  ): string =>
    toPem(
      makeCertificate(
        {
          ...request,
          commonName: "squall",
          publicKey,
          notBefore: beginOf(validity),
          // A leaf that outlives its CA would be refused without looking expired.
          notAfter: new Date(Math.min(validity.now.getTime() + validity.lifetimeMs, caEnd)),
        },
        issuer,
      ),
    );

  return {
    certificate,
    async issueServer(dnsNames, validity) {
      const own = await createAgentKey();
      return { certificate: make({ purpose: "server", dnsNames }, own.publicKey, validity), key: own.privateKey };
    },
    async issueClient(uri, validity) {
      const own = await createAgentKey();
      return { certificate: make({ purpose: "client", uris: [uri] }, own.publicKey, validity), key: own.privateKey };
    },
    issueAgent: (uri, publicKey, validity) => make({ purpose: "server", uris: [uri] }, publicKey, validity),
  };
}

function parseKey(pem: string) {
  try {
    return createPrivateKey(pem);
  } catch {
    // The cause is left out: OpenSSL's messages may quote their input.
    throw new Error("The CA's key cannot be read.");
  }
}

function commonNameOf(certificate: X509Certificate): string {
  const name = /^CN=(.+)$/m.exec(certificate.subject)?.[1];
  if (name === undefined) throw new Error("The CA's certificate has no common name.");
  return name;
}

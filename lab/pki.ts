import { generateKeyPair as generateKeyPairWithCallback, randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import forge from "node-forge";

/** A certificate and its key, PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

export interface LeafRequest {
  readonly commonName: string;
  /** Groups, as the API server reads them from a client certificate. */
  readonly organization?: string;
  readonly dns?: readonly string[];
  readonly ips?: readonly string[];
}

/** Signs certificates for one throw-away cluster. */
export interface LabAuthority {
  readonly ca: KeyPair;
  /** For servers and clients alike. */
  issue(request: LeafRequest): Promise<KeyPair>;
}

const DAYS_VALID = 30;
const generateKeyPair = promisify(generateKeyPairWithCallback);

/** An RSA key pair, PEM; made outside the main thread, so several at once use all processors. */
export async function createRsaKeyPair(): Promise<{ readonly privateKey: string; readonly publicKey: string }> {
  return await generateKeyPair("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs1", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
}

export async function createLabAuthority(commonName: string): Promise<LabAuthority> {
  const { privateKey, publicKey } = await createRsaKeyPair();
  const subject = [{ name: "commonName", value: commonName }];
  const certificate = draft(publicKey, subject, subject);
  certificate.setExtensions([
    { name: "basicConstraints", cA: true, critical: true },
    { name: "keyUsage", keyCertSign: true, cRLSign: true, digitalSignature: true, critical: true },
    { name: "subjectKeyIdentifier" },
  ]);
  certificate.sign(forge.pki.privateKeyFromPem(privateKey), forge.md.sha256.create());
  return openLabAuthority({ certificate: forge.pki.certificateToPem(certificate), key: privateKey });
}

/** The authority that has this certificate and key. */
export function openLabAuthority(ca: KeyPair): LabAuthority {
  const signer = forge.pki.privateKeyFromPem(ca.key);
  const issuer = forge.pki.certificateFromPem(ca.certificate).subject.attributes;
  return {
    ca,
    async issue(request) {
      const own = await createRsaKeyPair();
      const names = [
        ...(request.organization === undefined ? [] : [{ name: "organizationName", value: request.organization }]),
        { name: "commonName", value: request.commonName },
      ];
      const leaf = draft(own.publicKey, names, issuer);
      const altNames = [...(request.dns ?? []).map((value) => ({ type: 2, value })), ...(request.ips ?? []).map((ip) => ({ type: 7, ip }))];
      leaf.setExtensions([
        { name: "basicConstraints", cA: false, critical: true },
        { name: "keyUsage", digitalSignature: true, keyEncipherment: true, critical: true },
        { name: "extKeyUsage", serverAuth: true, clientAuth: true },
        ...(altNames.length === 0 ? [] : [{ name: "subjectAltName", altNames }]),
      ]);
      leaf.sign(signer, forge.md.sha256.create());
      return { certificate: forge.pki.certificateToPem(leaf), key: own.privateKey };
    },
  };
}

/** Writes `NAME.crt` and `NAME.key`. */
export async function writeKeyPair(folder: string, name: string, { certificate, key }: KeyPair): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, `${name}.crt`), certificate);
  await writeFile(join(folder, `${name}.key`), key, { mode: 0o600 });
}

function draft(publicKey: string, subject: forge.pki.CertificateField[], issuer: forge.pki.CertificateField[]): forge.pki.Certificate {
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.publicKeyFromPem(publicKey);
  // The first bit must be 0, or the number would be negative.
  certificate.serialNumber = `01${randomBytes(15).toString("hex")}`;
  const now = Date.now();
  certificate.validity.notBefore = new Date(now - 60_000);
  certificate.validity.notAfter = new Date(now + DAYS_VALID * 86_400_000);
  certificate.setSubject(subject);
  certificate.setIssuer(issuer);
  return certificate;
}

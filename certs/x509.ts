import { createPublicKey, type KeyObject, randomBytes, sign } from "node:crypto";
import forge from "node-forge";

/** What a certificate of ours may be used for; each has one purpose only. */
export type Purpose = "authority" | "server" | "client";

export interface CertificateRequest {
  readonly commonName: string;
  readonly purpose: Purpose;
  readonly dnsNames?: readonly string[] | undefined;
  readonly uris?: readonly string[] | undefined;
  /** DER of the SubjectPublicKeyInfo of the holder's key, of any algorithm that OpenSSL knows. */
  readonly publicKey: Buffer;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Who signs: an RSA key and its name. */
export interface Issuer {
  readonly commonName: string;
  readonly key: KeyObject;
}

const SHA256_WITH_RSA = "1.2.840.113549.1.1.11";
const { asn1 } = forge;
const { Class, Type } = asn1;

/**
 * Makes and signs a certificate (RFC 5280), DER. node-forge writes everything but the key, which it could not for P-256, and
 * `node:crypto` signs, which is sixty times as fast.
 */
export function makeCertificate(request: CertificateRequest, issuer: Issuer): Buffer {
  const draft = forge.pki.createCertificate();
  // Takes the place of the holder's key until the real one is put in below.
  const issuerKeyPem = createPublicKey(issuer.key).export({ type: "spki", format: "pem" }).toString();
  draft.publicKey = forge.pki.publicKeyFromPem(issuerKeyPem);
  // 120 random bits; the first byte keeps the number positive and its encoding short.
  draft.serialNumber = `01${randomBytes(15).toString("hex")}`;
  draft.validity.notBefore = request.notBefore;
  draft.validity.notAfter = request.notAfter;
  draft.setSubject([{ name: "commonName", value: request.commonName }]);
  draft.setIssuer([{ name: "commonName", value: issuer.commonName }]);
  draft.setExtensions([...extensionsOf(request)]);
  draft.signatureOid = SHA256_WITH_RSA;
  draft.siginfo.algorithmOid = SHA256_WITH_RSA;
  const toBeSigned = withPublicKey(toBeSignedOf(draft), request.publicKey);
  const signature = sign("sha256", Buffer.from(asn1.toDer(toBeSigned).getBytes(), "binary"), issuer.key);
  const whole = asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, [
    toBeSigned,
    asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, [
      asn1.create(Class.UNIVERSAL, Type.OID, false, asn1.oidToDer(SHA256_WITH_RSA).getBytes()),
      asn1.create(Class.UNIVERSAL, Type.NULL, false, ""),
    ]),
    asn1.create(Class.UNIVERSAL, Type.BITSTRING, false, `\0${signature.toString("binary")}`),
  ]);
  return Buffer.from(asn1.toDer(whole).getBytes(), "binary");
}

/** The TBSCertificate: first of the three parts of a certificate. */
function toBeSignedOf(draft: forge.pki.Certificate): forge.asn1.Asn1 {
  draft.signature = "";
  const [first] = forge.pki.certificateToAsn1(draft).value;
  if (typeof first !== "object") throw new Error("A certificate is a sequence.");
  return first;
}

/** Position of subjectPublicKeyInfo in a TBSCertificate of version 3: RFC 5280, section 4.1. */
const PUBLIC_KEY_INDEX = 6;

function withPublicKey(toBeSigned: forge.asn1.Asn1, publicKey: Buffer): forge.asn1.Asn1 {
  if (!Array.isArray(toBeSigned.value)) throw new Error("A TBSCertificate is a sequence.");
  const parts = toBeSigned.value.with(PUBLIC_KEY_INDEX, asn1.fromDer(publicKey.toString("binary")));
  return asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, parts);
}

/** GeneralName tags of RFC 5280, section 4.2.1.6. */
const DNS_NAME = 2;
const URI_NAME = 6;

function extensionsOf({ purpose, dnsNames = [], uris = [] }: CertificateRequest): readonly object[] {
  const altNames = [...dnsNames.map((value) => ({ type: DNS_NAME, value })), ...uris.map((value) => ({ type: URI_NAME, value }))];
  const names = altNames.length === 0 ? [] : [{ name: "subjectAltName", altNames }];
  if (purpose === "authority")
    return [
      { name: "basicConstraints", critical: true, cA: true, pathLenConstraint: 0 },
      { name: "keyUsage", critical: true, keyCertSign: true, cRLSign: true },
      { name: "subjectKeyIdentifier" },
    ];
  return [
    { name: "basicConstraints", critical: true, cA: false },
    { name: "keyUsage", critical: true, digitalSignature: true },
    { name: "extKeyUsage", critical: true, serverAuth: purpose === "server", clientAuth: purpose === "client" },
    // Of the draft's key, which is the issuer's.
    { name: "authorityKeyIdentifier", keyIdentifier: true },
    ...names,
  ];
}

/** PEM of a certificate in DER. */
export function toPem(der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

import { createHash, createPrivateKey, createPublicKey, generateKeyPair, type KeyObject, sign, verify } from "node:crypto";
import { promisify } from "node:util";

/** A P-256 key pair of an agent; made in the pod, and the private half never leaves it. */
export interface AgentKey {
  /** PKCS #8, PEM. */
  readonly privateKey: string;
  /** DER of the SubjectPublicKeyInfo. */
  readonly publicKey: Buffer;
}

const generate = promisify(generateKeyPair);

/** Takes about a millisecond, off the event loop; an RSA key would take 230. */
export async function createAgentKey(): Promise<AgentKey> {
  const { privateKey, publicKey } = await generate("ec", { namedCurve: "P-256" });
  return {
    privateKey: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    publicKey: publicKey.export({ type: "spki", format: "der" }),
  };
}

/** Signs what an enrolment is about: proves that who sends the token holds the key. Gives the DER of an ECDSA-SHA256 signature. */
export function proveKey(key: AgentKey, token: string): Buffer {
  return sign("sha256", statement(token, key.publicKey), createPrivateKey(key.privateKey));
}

export interface KeyProof {
  readonly token: string;
  readonly publicKey: Uint8Array;
  readonly proof: Uint8Array;
}

/** Whether the proof was made by the holder of this public key, for this token. False for anything but a P-256 key. */
export function verifyProof({ token, publicKey, proof }: KeyProof): boolean {
  const key = parseAgentKey(publicKey);
  if (key === undefined) return false;
  try {
    return verify("sha256", statement(token, publicKey), key, proof);
  } catch {
    // OpenSSL throws for some byte strings that are no signature at all.
    return false;
  }
}

/** The public key in DER; undefined for anything but a P-256 key in its usual encoding. */
export function parseAgentKey(publicKey: Uint8Array): KeyObject | undefined {
  // An uncompressed point takes 91 bytes; nothing else is read, so that the certificate holds the bytes that were proved.
  if (publicKey.length !== 91) return undefined;
  try {
    const key = createPublicKey({ key: Buffer.from(publicKey), format: "der", type: "spki" });
    return key.asymmetricKeyType === "ec" && key.asymmetricKeyDetails?.namedCurve === "prime256v1" ? key : undefined;
  } catch {
    return undefined;
  }
}

function statement(token: string, publicKey: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from("squall-enrolment\0"), createHash("sha256").update(token).digest(), publicKey]);
}

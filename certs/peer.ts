import { X509Certificate } from "node:crypto";

/** A certificate as TLS sockets, gRPC's auth context and `X509Certificate` hold it. */
export interface HasRawCertificate {
  /** DER; absent where the peer sent no certificate. */
  readonly raw?: Uint8Array | undefined;
}

interface AltNames {
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
}

/** The one URI that the certificate names; undefined where there is none, or more than one. */
export function uriOf(certificate: HasRawCertificate | undefined): string | undefined {
  const { uris } = altNamesOf(certificate);
  return uris.length === 1 ? uris[0] : undefined;
}

export function dnsNamesOf(certificate: HasRawCertificate | undefined): readonly string[] {
  return altNamesOf(certificate).dnsNames;
}

/** Why a peer whose chain TLS has verified is not the one that was meant; undefined when it is. */
export function whyNotPeer(certificate: HasRawCertificate | undefined, expectedUri: string): string | undefined {
  if (!isShown(certificate)) return `The peer showed no certificate; ${expectedUri} was expected.`;
  const found = uriOf(certificate);
  return found === expectedUri ? undefined : `The peer is ${found ?? "nobody that Squall names"}; ${expectedUri} was expected.`;
}

/** Refuses a server other than the one meant; see `tls.checkServerIdentity`. The host that was dialled plays no part. */
export type ServerCheck = (host: string, certificate: HasRawCertificate) => Error | undefined;

/** For `checkServerIdentity` of TLS and gRPC channels: the server must be the holder of this URI. */
export function checkServerUri(expectedUri: string): ServerCheck {
  return (_host, certificate) => {
    const why = whyNotPeer(certificate, expectedUri);
    return why === undefined ? undefined : new Error(why);
  };
}

/** For `checkServerIdentity`: the server must have this DNS name, whatever address it was dialled at. */
export function checkServerDnsName(expectedName: string): ServerCheck {
  return (_host, certificate) => {
    const names = dnsNamesOf(certificate);
    return names.includes(expectedName)
      ? undefined
      : new Error(`The server is ${names.join(", ") || "nobody that Squall names"}; ${expectedName} was expected.`);
  };
}

/** OpenSSL's text of the names. Node quotes a name that could be taken for two; none of ours needs that. */
function altNamesOf(certificate: HasRawCertificate | undefined): AltNames {
  if (!isShown(certificate)) return { uris: [], dnsNames: [] };
  const text = (certificate instanceof X509Certificate ? certificate : new X509Certificate(certificate.raw)).subjectAltName ?? "";
  const names = text.includes('"') ? [] : text.split(", ");
  const ofType = (type: string): readonly string[] =>
    names.filter((name) => name.startsWith(`${type}:`)).map((name) => name.slice(type.length + 1));
  return { uris: ofType("URI"), dnsNames: ofType("DNS") };
}

/** One that is parsed already is not asked for its bytes, which would be copied. */
const isShown = (certificate: HasRawCertificate | undefined): certificate is X509Certificate | { readonly raw: Uint8Array } =>
  certificate instanceof X509Certificate || certificate?.raw !== undefined;

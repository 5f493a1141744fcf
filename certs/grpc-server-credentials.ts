import { ServerCredentials } from "@grpc/grpc-js";
import type { Credential } from "./authority.ts";

export interface ServerIdentity extends Credential {
  /** PEM of the CAs whose clients are let in; absent where clients show no certificate. */
  readonly clientCas?: string | undefined;
}

/**
 * Credentials of a gRPC server that are replaced while it runs: open connections live on, new ones get the new certificate.
 * TLS 1.3 only. With `clientCas`, a client without a certificate of theirs gets no connection; who it is, the server has to
 * check by `whyNotPeer`.
 */
export class RenewableServerCredentials extends ServerCredentials {
  constructor(identity: ServerIdentity) {
    const asksClients = identity.clientCas !== undefined;
    super({ requestCert: asksClients, rejectUnauthorized: asksClients }, contextOf(identity));
  }

  replace(identity: ServerIdentity): void {
    this.updateSecureContextOptions(contextOf(identity));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

// The version stands here, for Node forgets the one of the server when a context is replaced.
const contextOf = ({ certificate, key, clientCas }: ServerIdentity) => ({
  cert: certificate,
  key,
  ca: clientCas,
  minVersion: "TLSv1.3" as const,
});

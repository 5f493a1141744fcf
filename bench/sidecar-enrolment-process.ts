import { Server } from "@grpc/grpc-js";
import { type Credential, openAuthority } from "../certs/authority.ts";
import { RenewableServerCredentials } from "../certs/grpc-server-credentials.ts";
import { type PodIdentity, podUri } from "../certs/identity.ts";
import { services, SYSTEM_NAMESPACE } from "../common/names.ts";
import { EnrolmentService, type EnrolmentServer } from "../proto/gen/agent.ts";

/** The other end of an enrolment, for bench/sidecar.ts, in a network namespace of its own: signs without asking an API server. */
export interface EnrolmentOrder {
  /** HOST:PORT. */
  readonly address: string;
  readonly authority: Credential;
  /** Whom it takes everybody for. */
  readonly pod: PodIdentity;
}

const HOUR_MS = 3_600_000;

async function serve({ address, authority: stored, pod }: EnrolmentOrder): Promise<void> {
  const authority = openAuthority(stored);
  const validity = { now: new Date(), lifetimeMs: HOUR_MS };
  const own = await authority.issueServer([`${services.enrolment}.${SYSTEM_NAMESPACE}.svc`], validity);
  const handlers: EnrolmentServer = {
    enrol: ({ request }, callback) =>
      callback(null, {
        certificate: authority.issueAgent(podUri(pod), Buffer.from(request.publicKey), validity),
        caCertificates: authority.certificate,
        desired: undefined,
      }),
  };
  const server = new Server();
  server.addService(EnrolmentService, handlers);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(address, new RenewableServerCredentials(own), (error) => (error ? reject(error) : resolve()));
  });
}

process.on("message", (order: EnrolmentOrder) => {
  serve(order).then(
    () => process.send?.({ answer: {} }),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
process.on("disconnect", () => process.exit(0));

import { Server } from "@grpc/grpc-js";
import { type Authority, type Credential, openAuthority } from "../../../certs/authority.ts";
import { RenewableServerCredentials } from "../../../certs/grpc-server-credentials.ts";
import { CONTROLLER_URI, type PodIdentity, podUri } from "../../../certs/identity.ts";
import { ports, services, SYSTEM_NAMESPACE } from "../../../common/names.ts";
import { createDial } from "../../../controller/agents/dial.ts";
import type { Fault, Report } from "../../../proto/gen/agent.ts";
import { EnrolmentService, type EnrolmentServer } from "../../../proto/gen/services.ts";

/** Stands for the controller, in a network namespace of its own: enrols one pod without asking an API server, and calls its sidecar. */
export type ControllerOrder =
  | {
      readonly do: "serve";
      readonly authority: Credential;
      /** Whom it takes everybody for. */
      readonly pod: PodIdentity;
      /** What applies to the pod already. */
      readonly faults: readonly Fault[];
      /** Of volumes of the pod that are claims, by their names. */
      readonly persistentVolumes: Readonly<Record<string, string>>;
    }
  /** Answers with the Report, and how long the call took in milliseconds. */
  | { readonly do: "apply"; readonly address: string; readonly generation: number; readonly faults: readonly Fault[] };

export interface Called {
  readonly report: Report;
  readonly ms: number;
}

const HOUR_MS = 3_600_000;
let authority: Authority | undefined;
let pod: PodIdentity | undefined;

async function serve(order: Extract<ControllerOrder, { do: "serve" }>): Promise<void> {
  const own = openAuthority(order.authority);
  authority = own;
  pod = order.pod;
  const validity = { now: new Date(), lifetimeMs: HOUR_MS };
  const serving = await own.issueServer([`${services.enrolment}.${SYSTEM_NAMESPACE}.svc`], validity);
  const faults = [...order.faults];
  const handlers: EnrolmentServer = {
    enrol: ({ request }, callback) =>
      callback(null, {
        certificate: own.issueAgent(podUri(order.pod), request.publicKey, validity),
        caCertificates: own.certificate,
        desired: { targetUid: order.pod.uid, order: { leaderEpoch: 1, generation: 1 }, faults },
        persistentVolumes: Object.fromEntries(Object.entries(order.persistentVolumes).filter(([name]) => request.volumes.includes(name))),
      }),
  };
  const server = new Server();
  server.addService(EnrolmentService, handlers);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`0.0.0.0:${ports.enrolment}`, new RenewableServerCredentials(serving), (error) => (error ? reject(error) : resolve()));
  });
}

async function apply({ address, generation, faults }: Extract<ControllerOrder, { do: "apply" }>): Promise<Called> {
  if (authority === undefined || pod === undefined) throw new Error("It serves nobody yet.");
  const { certificate, key } = await authority.issueClient(CONTROLLER_URI, { now: new Date(), lifetimeMs: HOUR_MS });
  const trusted = authority.certificate;
  const link = createDial({ credentials: () => ({ certificate, key, trusted }) })({ uid: pod.uid, uri: podUri(pod), address });
  const begun = performance.now();
  try {
    const report = await link.apply({ targetUid: pod.uid, order: { leaderEpoch: 1, generation }, faults: [...faults] });
    return { report, ms: performance.now() - begun };
  } finally {
    link.close();
  }
}

process.on("message", (order: ControllerOrder) => {
  const obeyed: Promise<object> = order.do === "serve" ? serve(order).then(() => ({})) : apply(order);
  obeyed.then(
    (answer) => process.send?.({ answer }),
    (error: unknown) => process.send?.({ error: error instanceof Error ? error.message : String(error) }),
  );
});
process.on("disconnect", () => process.exit(0));

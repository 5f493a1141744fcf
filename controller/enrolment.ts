import { isIP } from "node:net";
import { type sendUnaryData, Server, type ServerUnaryCall, status } from "@grpc/grpc-js";
import { MOST_VOLUMES } from "../api/injection-volumes.ts";
import type { Credential } from "../certs/authority.ts";
import { RenewableServerCredentials } from "../certs/grpc-server-credentials.ts";
import { nodeUri, podUri } from "../certs/identity.ts";
import { parseAgentKey, verifyProof } from "../certs/keys.ts";
import type { Clock } from "../common/clock.ts";
import type { Log } from "../common/log.ts";
import { DAEMON, nodeAgent, ports, SYSTEM_NAMESPACE } from "../common/names.ts";
import { isKubeError } from "../kube/errors.ts";
import type { Kube, ObjectRef } from "../kube/kube.ts";
import type { EnrollingPod } from "../kube/resources.ts";
import type { DesiredFaults, EnrolReply, EnrolRequest, Passport } from "../proto/gen/agent.ts";
import { type EnrolmentServer, EnrolmentService } from "../proto/gen/services.ts";
import { findPersistentVolumes } from "./claims.ts";
import { createRateLimit, type RateLimit } from "./rate-limit.ts";
import { reviewToken, type TokenPod } from "./token-review.ts";

/** An agent that just proved who it is. */
export interface EnrolledAgent extends TokenPod {
  /** UID of the pod whose sidecar it is, or node/NAME of the node whose daemon it is. */
  readonly agent: string;
  /** Where it says it can be dialled: IP addresses. Whoever answers there still has to prove to be this pod. */
  readonly addresses: readonly string[];
  readonly agentVersion: string;
}

/** The part of the certificate keeper that enrolment needs. */
export interface EnrolmentCertificates {
  enrolmentCredential(): Credential;
  issueAgent(uri: string, publicKey: Buffer): { readonly certificate: string; readonly trusted: string };
  onRenewal(handler: () => void): () => void;
}

export interface EnrolmentOptions {
  readonly kube: Kube;
  readonly clock: Clock;
  readonly log: Log;
  readonly certificates: EnrolmentCertificates;
  /** The pod of this name now; undefined where there is none. May fail, which the agent hears as "try again". */
  readonly findPod: (ref: ObjectRef & { readonly namespace: string }, signal: AbortSignal) => Promise<EnrollingPod | undefined>;
  /** What already applies to the agent, so that a pod is faulted from its first packet. */
  readonly desiredFor: (agent: EnrolledAgent) => Promise<DesiredFaults | undefined> | DesiredFaults | undefined;
  readonly onPassport: (agent: EnrolledAgent, passport: Passport) => void;
  /** Asked at each call: a leader that was frozen must not sign. */
  readonly isLeading: () => boolean;
  /** 0.0.0.0:9444 by default; port 0 picks a free one. */
  readonly address?: string | undefined;
}

export interface EnrolmentListener {
  readonly port: number;
  /** Lets calls under way end, for two seconds at most. */
  close(): Promise<void>;
}

const MAX_MESSAGE_BYTES = 64 * 1024;
/** Calls at a time; each asks the API server twice, and for each claim of a pod with several. */
const MAX_IN_FLIGHT = 64;
const MAX_ADDRESSES = 16;
const CALL_LIMIT_MS = 5_000;
const DRAIN_MS = 2_000;

/** What goes back to the agent instead of a certificate; gRPC sends code and message. */
class Refusal extends Error {
  readonly code: status;
  constructor(code: status, message: string) {
    super(message);
    this.code = code;
  }
}

/** Serves enrolment: exchanges a pod's token and the proof of a key for a certificate. TLS without client certificates, as agents have none yet. */
export async function startEnrolmentServer(options: EnrolmentOptions): Promise<EnrolmentListener> {
  const { certificates, clock, address = `0.0.0.0:${ports.enrolment}` } = options;
  const credentials = new RenewableServerCredentials(certificates.enrolmentCredential());
  const off = certificates.onRenewal(() => credentials.replace(certificates.enrolmentCredential()));
  const server = new Server({
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": 4 * 1024 * 1024,
    "grpc.max_concurrent_streams": 4,
    "grpc.max_connection_idle_ms": 30_000,
  });
  // A pod enrols twice a day; one that restarts in a loop comes every ten seconds.
  const mayCome = createRateLimit({ clock, visits: 20, windowMs: 60_000 });
  let inFlight = 0;
  const serve = async (call: ServerUnaryCall<EnrolRequest, EnrolReply>, callback: sendUnaryData<EnrolReply>): Promise<void> => {
    inFlight += 1;
    try {
      callback(null, await answer(call, options, { mayCome, isFull: inFlight > MAX_IN_FLIGHT }));
    } catch (error) {
      callback(explain(error, call, options.log));
    } finally {
      inFlight -= 1;
    }
  };
  const handlers: EnrolmentServer = { enrol: (call, callback) => void serve(call, callback) };
  server.addService(EnrolmentService, handlers);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(address, credentials, (error, bound) => (error === null ? resolve(bound) : reject(error)));
  }).catch((error: unknown) => {
    off();
    throw error;
  });
  return {
    port,
    close() {
      off();
      return drain(server, clock);
    },
  };
}

async function answer(
  call: ServerUnaryCall<EnrolRequest, EnrolReply>,
  options: EnrolmentOptions,
  { mayCome, isFull }: { readonly mayCome: RateLimit; readonly isFull: boolean },
): Promise<EnrolReply> {
  const { clock } = options;
  if (!options.isLeading()) throw new Refusal(status.UNAVAILABLE, "This controller does not lead. Try again.");
  if (isFull) throw new Refusal(status.RESOURCE_EXHAUSTED, "Too many agents enrol at this moment. Try again.");
  if (!mayCome(hostOf(call.getPeer())))
    throw new Refusal(status.RESOURCE_EXHAUSTED, "This address enrols too often. Try again in a minute.");
  const limit = new AbortController();
  const cancel = clock.after(CALL_LIMIT_MS, () =>
    limit.abort(new Refusal(status.UNAVAILABLE, "The API server did not answer in time. Try again.")),
  );
  call.on("cancelled", () => limit.abort(new Refusal(status.CANCELLED, "The caller left.")));
  try {
    return await enrol(call.request, options, limit.signal);
  } finally {
    cancel();
  }
}

/** Cheap checks first: the API server is asked only for requests that could succeed. */
async function enrol(request: EnrolRequest, options: EnrolmentOptions, signal: AbortSignal): Promise<EnrolReply> {
  const { kube, log, certificates } = options;
  const addresses = parseAddresses(request.addresses);
  if (request.volumes.length > MOST_VOLUMES) throw new Refusal(status.INVALID_ARGUMENT, `volumes has more than ${MOST_VOLUMES} names.`);
  if (request.token === "") throw new Refusal(status.UNAUTHENTICATED, "The token is missing.");
  if (parseAgentKey(request.publicKey) === undefined)
    throw new Refusal(status.INVALID_ARGUMENT, "public_key is not the SubjectPublicKeyInfo of a P-256 key.");
  if (!verifyProof(request)) throw new Refusal(status.INVALID_ARGUMENT, "proof was not made with this key for this token.");
  const verdict = await reviewToken(kube, request.token, signal);
  if (!verdict.ok) throw new Refusal(status.UNAUTHENTICATED, verdict.reason);
  const { pod } = verdict;
  const found = await options.findPod({ namespace: pod.namespace, name: pod.name }, signal);
  if (found?.metadata.uid !== pod.uid) throw new Refusal(status.UNAUTHENTICATED, "The pod of this token is gone.");
  const identity = identify(pod, found);
  const agent: EnrolledAgent = { ...pod, agent: identity.agent, addresses, agentVersion: printable(request.agentVersion) };
  const persistentVolumes = await findPersistentVolumes(found, request.volumes, { kube, log, signal });
  const desired = await options.desiredFor(agent);
  // Asked again: all this took a while, and somebody else may lead by now.
  if (!options.isLeading()) throw new Refusal(status.UNAVAILABLE, "This controller does not lead. Try again.");
  const { certificate, trusted } = certificates.issueAgent(identity.uri, request.publicKey);
  if (request.passport !== undefined) options.onPassport(agent, request.passport);
  log.info(
    { target: `${pod.namespace}/${pod.name}`, uid: pod.uid, agentVersion: agent.agentVersion, faults: desired?.faults.length ?? 0 },
    "agent enrolled",
  );
  return { certificate, caCertificates: trusted, desired, persistentVolumes };
}

/**
 * Pods of the daemon's service account act for their node; all others for themselves alone. The node is the one that the API server has for the
 * pod, whatever it says of itself.
 */
function identify(pod: TokenPod, { spec: { nodeName } }: EnrollingPod): { readonly agent: string; readonly uri: string } {
  if (pod.namespace !== SYSTEM_NAMESPACE || pod.serviceAccount !== DAEMON) return { agent: pod.uid, uri: podUri(pod) };
  if (nodeName === undefined) throw new Refusal(status.UNAVAILABLE, "The pod of this daemon is on no node yet. Try again.");
  return { agent: nodeAgent(nodeName), uri: nodeUri(nodeName) };
}

function parseAddresses(addresses: readonly string[]): readonly string[] {
  if (addresses.length > MAX_ADDRESSES || !addresses.every((address) => isIP(address) !== 0))
    throw new Refusal(status.INVALID_ARGUMENT, `addresses has something other than IP addresses, or more than ${MAX_ADDRESSES}.`);
  return addresses;
}

/** What a stranger sent, fit for a log. */
const printable = (text: string): string => text.replaceAll(/[^\w.+-]/g, "?").slice(0, 64);

/** grpc-js gives "10.0.0.1:4711" or "[::1]:4711". */
const hostOf = (peer: string): string => peer.replace(/:\d+$/, "");

function explain(error: unknown, call: ServerUnaryCall<EnrolRequest, EnrolReply>, log: Log): Refusal {
  const peer = hostOf(call.getPeer());
  if (error instanceof Refusal) {
    log.warn({ peer, code: status[error.code], reason: error.message }, "enrolment refused");
    return error;
  }
  // Details stay here: the agent learns nothing about the cluster from a failure of ours.
  log.warn({ peer, err: error }, "enrolment failed");
  if (isKubeError(error)) return new Refusal(status.UNAVAILABLE, "The API server could not be asked. Try again.");
  return new Refusal(status.INTERNAL, "The controller could not answer. Its log says why.");
}

function drain(server: Server, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    const cancel = clock.after(DRAIN_MS, () => {
      server.forceShutdown();
      resolve();
    });
    server.tryShutdown(() => {
      cancel();
      resolve();
    });
  });
}

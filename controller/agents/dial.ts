import { isIPv6 } from "node:net";
import { createSecureContext, type SecureContext } from "node:tls";
import { Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { nodeOfAgent, ports } from "../../common/names.ts";
import type { Report } from "../../proto/gen/agent.ts";
import { AgentClient, NodeClient } from "../../proto/gen/services.ts";
import { AgentCredentials } from "./agent-credentials.ts";
import type { AgentLink, AgentTarget, Dial, HoldStream } from "./link.ts";

/** What this process shows to agents, and the CAs of theirs; PEM. */
export interface DialCredentials {
  readonly certificate: string;
  readonly key: string;
  readonly trusted: string;
}

export interface DialOptions {
  /** Asked for each connection, so that a renewed certificate is used from then on. */
  readonly credentials: () => DialCredentials;
  /** Of all agents; by default, sidecars and daemons have one each. */
  readonly port?: number | undefined;
}

/** An agent under a starved CPU takes its time; one that is frozen must not hold a sender up for long. */
const APPLY_TIMEOUT_MS = 10_000;

/** A container runtime that is asked to end a container answers once it has ended. */
const KILL_TIMEOUT_MS = 20_000;

/** Nothing is waited for there, and an uninstallation has little time. */
const DETACH_TIMEOUT_MS = 5_000;

const SERVER_NAME = "sidecar.squall.invalid";

const CHANNEL_OPTIONS = {
  "grpc.default_authority": SERVER_NAME,
  // A peer that is frozen or cut off leaves the connection open: only pings tell.
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5_000,
  // Each sender has its own connection and its own waits between attempts.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_channelz": 0,
} as const;

/** Dials agents over mTLS 1.3; the server must be the very pod or node that is meant, whoever has its address now. */
export function createDial({ credentials: read, port: onlyPort }: DialOptions): Dial {
  let shared: { readonly of: DialCredentials; readonly context: SecureContext } | undefined;
  /** One for all connections: reading certificates and keys anew takes a quarter of the time of a connection. */
  const contextNow = (): SecureContext => {
    const now = read();
    if (shared?.of.certificate !== now.certificate || shared.of.trusted !== now.trusted) {
      const context = createSecureContext({
        cert: now.certificate,
        key: now.key,
        ca: now.trusted,
        minVersion: "TLSv1.3",
        // OpenSSL would make a key for ML-KEM as well: a sixth of the time of a connection, for traffic that holds no secret.
        ecdhCurve: "X25519:P-256",
      });
      shared = { of: now, context };
    }
    return shared.context;
  };
  return (target) => {
    const channel = new AgentCredentials({ context: contextNow(), serverName: SERVER_NAME, uri: target.uri });
    const port = onlyPort ?? (nodeOfAgent(target.uid) === undefined ? ports.sidecar : ports.daemon);
    const address = isIPv6(target.address) ? `ipv6:[${target.address}]:${port}` : `ipv4:${target.address}:${port}`;
    return linkOver(new AgentClient(address, channel, CHANNEL_OPTIONS), { address, channel, target });
  };
}

function linkOver(
  client: AgentClient,
  { address, channel, target }: { readonly address: string; readonly channel: AgentCredentials; readonly target: AgentTarget },
): AgentLink {
  const explain = (error: ServiceError): Error => describeError(error, target);
  return {
    apply: (desired) =>
      new Promise((resolve, reject) => {
        client.apply(desired, new Metadata(), { deadline: Date.now() + APPLY_TIMEOUT_MS }, (error, report) =>
          error === null ? resolve(report) : reject(explain(error)),
        );
      }),
    hold: (onReport) => openHold(client, onReport, explain),
    killContainer: (request) =>
      new Promise((resolve, reject) => {
        const node = new NodeClient(address, channel, { channelOverride: client.getChannel() });
        node.containerKill(request, new Metadata(), { deadline: Date.now() + KILL_TIMEOUT_MS }, (error, reply) =>
          error === null ? resolve(reply) : reject(explain(error)),
        );
      }),
    detachVolumes: (request) =>
      new Promise((resolve, reject) => {
        const node = new NodeClient(address, channel, { channelOverride: client.getChannel() });
        node.detachVolumes(request, new Metadata(), { deadline: Date.now() + DETACH_TIMEOUT_MS }, (error, reply) =>
          error === null ? resolve(reply) : reject(explain(error)),
        );
      }),
    close: () => client.close(),
  };
}

function openHold(client: AgentClient, onReport: (report: Report) => void, explain: (error: ServiceError) => Error): HoldStream {
  const stream = client.hold();
  const { promise: ended, resolve } = Promise.withResolvers<Error>();
  stream.on("data", onReport);
  stream.on("error", (error: ServiceError) => resolve(explain(error)));
  stream.on("end", () => resolve(new Error("The agent ended the stream.")));
  return {
    ended,
    beat: (heartbeat) => void stream.write(heartbeat),
    close() {
      resolve(new Error("The stream was closed here."));
      stream.cancel();
    },
  };
}

/** In words for a record: what was tried, what came of it, what to look at. */
function describeError({ code, details }: ServiceError, { uid, address }: AgentTarget): Error {
  const node = nodeOfAgent(uid);
  const agent = node === undefined ? `The sidecar at ${address}` : `The daemon of node ${node} at ${address}`;
  if (code === status.UNAVAILABLE) {
    return new Error(`${agent} cannot be reached (${details}). A NetworkPolicy, a mesh or a stopped container may be the cause.`);
  }
  if (code === status.DEADLINE_EXCEEDED) return new Error(`${agent} did not answer in time.`);
  return new Error(`${agent} answered ${status[code]}: ${details}`);
}

import type { Socket } from "node:net";
import {
  type handleBidiStreamingCall,
  type handleUnaryCall,
  Server,
  ServerInterceptingCall,
  type ServerInterceptor,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { RenewableServerCredentials, type ServerIdentity } from "../certs/grpc-server-credentials.ts";
import { CONTROLLER_URI } from "../certs/identity.ts";
import { whyNotPeer } from "../certs/peer.ts";
import type { Log } from "../common/log.ts";
import type { DesiredFaults, Heartbeat, Report } from "../proto/gen/agent.ts";
import { HealthService } from "../proto/gen/grpc/health/v1/health.ts";
import { ServerReflectionService } from "../proto/gen/grpc/reflection/v1/reflection.ts";
import { AgentService, type NodeServer, NodeService } from "../proto/gen/services.ts";
import { type Agent, RefusedError } from "./agent.ts";
import { serveHealth } from "./health.ts";
import { olderReflectionService, serveReflection } from "./reflection.ts";
import type { Wakefulness } from "./wakefulness.ts";

/** Twenty thousand networks in each of some rules fit; more is no sane request. */
const LARGEST_MESSAGE = 4 * 1024 * 1024;
const CLOSE_TIMEOUT_MS = 2_000;
const AGENT = "squall.agent.v1.Agent";
const NODE = "squall.agent.v1.Node";

/** Serves connections that somebody else accepted, see door.ts. */
export interface AgentServer {
  serve(connection: Socket): void;
  /** Newcomers are shown this identity; open connections live on. */
  renew(identity: ServerIdentity): void;
  /** Ends streams and connections; 2 s at most. */
  close(): Promise<void>;
}

/**
 * Serves the agent over mutual TLS to the controller and to nobody else: a certificate of our CA with another name is turned away before
 * any call is read. Reflection and health are behind the same door.
 */
export function createAgentServer({
  agent,
  identity,
  wakefulness,
  node,
  log,
}: {
  readonly agent: Agent;
  readonly identity: ServerIdentity;
  readonly wakefulness: Pick<Wakefulness, "stoodStill">;
  /** Acts on containers, which daemons serve. */
  readonly node?: NodeServer | undefined;
  readonly log: Log;
}): AgentServer {
  const server = new Server({
    interceptors: [refuseStrangers(log)],
    "grpc.max_receive_message_length": LARGEST_MESSAGE,
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
  });
  const mustBeAwake = (): void => {
    if (wakefulness.stoodStill)
      throw new StoodStillError("This process stood still until now, and this message may be old. Send it again.");
  };
  server.addService(AgentService, { apply: serveApply(agent, mustBeAwake), hold: serveHold(agent, mustBeAwake) });
  if (node !== undefined) server.addService(NodeService, node);
  const own = node === undefined ? [AGENT] : [AGENT, NODE];
  server.addService(HealthService, serveHealth(own));
  const reflection = serveReflection([...own, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]);
  server.addService(ServerReflectionService, reflection);
  server.addService(olderReflectionService, reflection);
  const credentials = new RenewableServerCredentials(identity);
  const injector = server.createConnectionInjector(credentials);
  return {
    serve: (connection) => injector.injectConnection(connection),
    renew: (renewed) => credentials.replace(renewed),
    close: () =>
      new Promise((resolve) => {
        const timer = setTimeout(() => {
          server.forceShutdown();
          resolve();
        }, CLOSE_TIMEOUT_MS);
        server.tryShutdown(() => {
          clearTimeout(timer);
          resolve();
        });
      }),
  };
}

function refuseStrangers(log: Log): ServerInterceptor {
  return (method, call) => {
    const why = whyNotPeer(call.getAuthContext().sslPeerCertificate, CONTROLLER_URI);
    if (why === undefined) return new ServerInterceptingCall(call);
    log.warn({ peer: call.getPeer(), method: method.path, why }, "a stranger was turned away");
    return new ServerInterceptingCall(call, {
      start: (next) => {
        next({});
        call.sendStatus({ code: status.UNAUTHENTICATED, details: why });
      },
    });
  };
}

/** A message that may have waited for any time while this process stood still. */
class StoodStillError extends Error {
  override readonly name = "StoodStillError";
}

function serveApply(agent: Agent, mustBeAwake: () => void): handleUnaryCall<DesiredFaults, Report> {
  const apply = async (desired: DesiredFaults): Promise<Report> => {
    mustBeAwake();
    return await agent.apply(desired);
  };
  return (call, reply) => {
    apply(call.request).then(
      (report) => reply(null, report),
      (error: unknown) => reply(errorOf(error)),
    );
  };
}

function serveHold(agent: Agent, mustBeAwake: () => void): handleBidiStreamingCall<Heartbeat, Report> {
  return (call) => {
    call.write(agent.report());
    const stop = agent.watch((report) => call.write(report));
    const end = (): void => {
      stop();
      call.end();
    };
    call.on("data", (heartbeat: Heartbeat) => {
      try {
        mustBeAwake();
        void agent.heartbeat(heartbeat);
      } catch (error) {
        stop();
        call.emit("error", errorOf(error));
      }
    });
    call.on("end", end);
    call.on("cancelled", stop);
    call.on("error", stop);
  };
}

function errorOf(error: unknown): Partial<ServiceError> {
  if (error instanceof StoodStillError) return { code: status.UNAVAILABLE, details: error.message };
  if (!(error instanceof RefusedError)) return { code: status.INTERNAL, details: error instanceof Error ? error.message : String(error) };
  const code = error.kind === "invalid" ? status.INVALID_ARGUMENT : status.FAILED_PRECONDITION;
  return { code, details: error.message };
}

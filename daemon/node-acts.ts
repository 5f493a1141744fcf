import { type sendUnaryData, type ServerUnaryCall, type ServiceError, status } from "@grpc/grpc-js";
import type { Wakefulness } from "../agent/wakefulness.ts";
import type { Log } from "../common/log.ts";
import type { ContainerRequest, NodeRequest } from "../proto/gen/agent.ts";
import type { NodeServer } from "../proto/gen/services.ts";
import { type ContainerRuntime, RuntimeError } from "./runtime/container-runtime.ts";
import type { Volumes } from "./volumes/volumes.ts";

export interface NodeActsOptions {
  /** node/NAME of this node. */
  readonly agent: string;
  readonly runtime: Pick<ContainerRuntime, "find" | "kill">;
  readonly volumes: Pick<Volumes, "detach">;
  readonly wakefulness: Pick<Wakefulness, "stoodStill">;
  readonly log: Log;
}

/** The request is for somebody else, or of a leader whose time is over. */
class PreconditionError extends Error {
  override readonly name = "PreconditionError";
}

/** There is no such container. */
class NotFoundError extends Error {
  override readonly name = "NotFoundError";
}

/** Serves acts on this node and its containers. Each acts on exactly the container that it names, by pod UID, name and id, or on none. */
export function serveNodeActs({ agent, runtime, volumes, wakefulness, log }: NodeActsOptions): NodeServer {
  let newestEpoch = 0;

  function check({ targetUid, leaderEpoch }: NodeRequest): void {
    if (wakefulness.stoodStill)
      throw new RuntimeError("unavailable", "This process stood still until now, and this message may be old. Send it again.");
    if (targetUid !== agent) throw new PreconditionError(`This is the daemon of ${agent}, another one was meant.`);
    if (leaderEpoch < newestEpoch) throw new PreconditionError(`Leader epoch ${leaderEpoch} is over; ${newestEpoch} was seen.`);
    newestEpoch = leaderEpoch;
  }

  function checkContainer(request: ContainerRequest): { readonly podUid: string; readonly container: string } {
    check(request);
    const { target } = request;
    if (target === undefined || target.podUid === "" || target.container === "")
      throw new PreconditionError("The request does not say which container of which pod it is for.");
    return target;
  }

  return {
    containerKill: answer(async (request) => {
      const { podUid, container } = checkContainer(request);
      const outcome = await runtime.kill({ podUid, container, id: request.containerId });
      log.info({ target: describe(request), id: request.containerId, outcome }, "container kill");
      return { wasGone: outcome === "gone" };
    }),
    containerGetPid: answer(async (request) => {
      const { podUid, container } = checkContainer(request);
      const found = await runtime.find({ podUid, container });
      if (found === undefined) throw new NotFoundError(`No container ${container} of pod ${describe(request)} runs on this node.`);
      return { pid: found.pid };
    }),
    detachVolumes: answer(async (request) => {
      check(request);
      const count = await volumes.detach();
      log.info({ volumes: count }, "Squall is being uninstalled: volumes were taken off the node");
      return { count };
    }),
  };
}

const describe = ({ target }: ContainerRequest): string => `${target?.namespace ?? ""}/${target?.pod ?? ""}`;

function answer<Request, Reply>(
  act: (request: Request) => Promise<Reply>,
): (call: ServerUnaryCall<Request, Reply>, reply: sendUnaryData<Reply>) => void {
  return ({ request }, reply) => {
    act(request).then(
      (result) => reply(null, result),
      (error: unknown) => reply(errorOf(error)),
    );
  };
}

function errorOf(error: unknown): Partial<ServiceError> {
  const details = error instanceof Error ? error.message : String(error);
  if (error instanceof PreconditionError) return { code: status.FAILED_PRECONDITION, details };
  if (error instanceof NotFoundError) return { code: status.NOT_FOUND, details };
  if (error instanceof RuntimeError) return { code: error.isTransient ? status.UNAVAILABLE : status.FAILED_PRECONDITION, details };
  return { code: status.INTERNAL, details };
}

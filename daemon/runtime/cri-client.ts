import { type ClientUnaryCall, credentials, type ServiceError, status } from "@grpc/grpc-js";
import type { Clock } from "../../common/clock.ts";
import { RuntimeServiceClient } from "../../proto/gen/cri.ts";
import { RuntimeError, type RuntimeErrorKind } from "./container-runtime.ts";

/** Begins one call of the generated client. */
export type Begin<A> = (client: RuntimeServiceClient, done: (error: ServiceError | null, answer: A) => void) => ClientUnaryCall;

export interface CallOptions {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const TIMEOUT_MS = 5_000;

const CHANNEL_OPTIONS = {
  // A list of all containers with their labels can be long; the kubelet takes as much.
  "grpc.max_receive_message_length": 16 << 20,
  // A new client is a new connection: it must not inherit the waits of one that failed.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.enable_channelz": 0,
} as const;

/** Calls over one socket. Owned by whoever made it. */
export class CriClient {
  readonly socket: string;
  readonly #clock: Clock;
  readonly #client: RuntimeServiceClient;

  constructor(socket: string, clock: Clock) {
    this.socket = socket;
    this.#clock = clock;
    this.#client = new RuntimeServiceClient(`unix:${socket}`, credentials.createInsecure(), CHANNEL_OPTIONS);
  }

  /** Makes one call, 5 s long at most where nothing else is said. Throws RuntimeError, and the signal's reason when that aborts. */
  call<A>(what: string, begin: Begin<A>, { timeoutMs = TIMEOUT_MS, signal }: CallOptions = {}): Promise<A> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const cancel = (): void => call.cancel();
      const stopTimer = this.#clock.after(timeoutMs, () => {
        reject(new RuntimeError("timeout", `${this.socket}: ${what} was not answered within ${timeoutMs / 1000} s.`));
        cancel();
      });
      const call = begin(this.#client, (error, answer) => {
        stopTimer();
        signal?.removeEventListener("abort", cancel);
        if (error === null) resolve(answer);
        else reject(signal?.aborted === true ? signal.reason : this.#explain(what, error));
      });
      signal?.addEventListener("abort", cancel, { once: true });
    });
  }

  close(): void {
    this.#client.close();
  }

  #explain(what: string, error: ServiceError): RuntimeError {
    const kind = kindOf(error.code);
    const why = kind === "unavailable" ? "cannot be reached" : `answered ${status[error.code]}`;
    return new RuntimeError(kind, `${this.socket}: ${what}: ${why} (${error.details})`, { cause: error });
  }
}

function kindOf(code: status): RuntimeErrorKind {
  // Cancelled by the other side: whoever cancels here does not ask for the reason.
  if (code === status.UNAVAILABLE || code === status.CANCELLED) return "unavailable";
  if (code === status.DEADLINE_EXCEEDED) return "timeout";
  if (code === status.NOT_FOUND) return "not-found";
  return "failed";
}

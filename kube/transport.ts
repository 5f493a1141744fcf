import { Agent, type Dispatcher, request as send } from "undici";
import type { Clock } from "../common/clock.ts";
import type { Credentials, CredentialSource } from "./credentials.ts";
import { errorOfAnswer, KubeError } from "./errors.ts";
import { sendTogether } from "./together.ts";

/** One request to the API server, before anybody signs it. */
export interface RawRequest {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  /** With its query. */
  readonly path: string;
  readonly body?: unknown;
  readonly contentType?: string | undefined;
}

/** The body of an answer, in pieces as they come. */
export interface RawStream extends AsyncIterable<Buffer> {
  /** Ends the request, whether the body was read or not. */
  close(): void;
}

export interface TransportOptions {
  readonly credentials: CredentialSource;
  readonly clock: Clock;
  /** As in RFC 9110: `squall-controller/0.1.0`. */
  readonly userAgent: string;
  /** How long an answer may take, its body included. */
  readonly requestTimeoutMs: number;
  /** How long a stream may be silent. */
  readonly streamSilenceMs: number;
}

/** Requests under way at a time; see docs/decisions/http-1-to-the-api-server.md. */
const CONNECTIONS = 16;
/** Watches have their own, as each of them occupies one. */
const WATCH_CONNECTIONS = 64;
/** The API server closes idle connections after 90 s; whoever closes first loses no request. */
const KEEP_ALIVE_MS = 60_000;

interface Pools {
  readonly identity: string;
  readonly requests: Agent;
  readonly streams: Agent;
}

/** Carries requests over few, long-lived connections: one set for each TLS identity. */
export class Transport {
  readonly #options: TransportOptions;
  #pools: Pools | undefined;
  #isClosed = false;

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  /** The parsed JSON of an answer; throws a KubeError for any other answer, or the reason of the signal. */
  async call(request: RawRequest, signal?: AbortSignal): Promise<unknown> {
    const { clock, requestTimeoutMs } = this.#options;
    const deadline = new Deadline(signal, clock);
    deadline.arm(requestTimeoutMs);
    try {
      const answer = await this.#send(request, "requests", deadline);
      const text = await answer.body.text();
      return text === "" ? undefined : parseJson(describe(request), text);
    } catch (error) {
      throw deadline.explain(error, describe(request));
    } finally {
      deadline.end();
    }
  }

  /** The body of an answer as it comes. Throws a KubeError "timeout" after a long silence. */
  async open(request: RawRequest, signal: AbortSignal): Promise<RawStream> {
    const { clock, requestTimeoutMs, streamSilenceMs } = this.#options;
    const deadline = new Deadline(signal, clock);
    deadline.arm(requestTimeoutMs);
    const what = describe(request);
    try {
      const { body } = await this.#send(request, "streams", deadline);
      deadline.arm(streamSilenceMs);
      // A body that nobody reads to its end reports its abortion as an error event.
      body.on("error", () => undefined);
      return {
        close: () => deadline.end(),
        async *[Symbol.asyncIterator]() {
          try {
            for await (const chunk of body) {
              deadline.arm(streamSilenceMs);
              yield chunk as Buffer;
            }
          } catch (error) {
            throw deadline.explain(error, what);
          } finally {
            deadline.end();
          }
        },
      };
    } catch (error) {
      deadline.end();
      throw deadline.explain(error, what);
    }
  }

  /** See sendTogether. Each request has a connection of its own. */
  async together(requests: readonly RawRequest[], signal: AbortSignal): Promise<void> {
    const { clock, credentials, userAgent, requestTimeoutMs } = this.#options;
    const deadline = new Deadline(signal, clock);
    deadline.arm(requestTimeoutMs);
    try {
      await sendTogether(requests, { credentials: await credentials.read(), userAgent, signal: deadline.signal });
    } catch (error) {
      throw deadline.explain(error, `making ${requests.length} changes together`);
    } finally {
      deadline.end();
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const pools = this.#pools;
    this.#pools = undefined;
    await Promise.all([pools?.requests.destroy(), pools?.streams.destroy()]);
  }

  async #send(request: RawRequest, pool: "requests" | "streams", deadline: Deadline) {
    for (let attempt = 1; ; attempt += 1) {
      const credentials = await this.#options.credentials.read();
      try {
        const answer = await this.#sendOnce(request, credentials, pool, deadline);
        if (answer.statusCode >= 200 && answer.statusCode < 300) return answer;
        const retryAfter = answer.headers["retry-after"];
        const error = errorOfAnswer({
          request: describe(request),
          statusCode: answer.statusCode,
          body: await answer.body.text(),
          retryAfter: typeof retryAfter === "string" ? retryAfter : undefined,
        });
        // The kubelet may have replaced the token since it was read.
        if (error.kind !== "unauthorized" || attempt > 1) throw error;
        this.#options.credentials.forget();
      } catch (error) {
        // A connection that the server closed while it was idle breaks the next request; reading again does no harm.
        if (error instanceof KubeError || request.method !== "GET" || attempt > 2 || deadline.isOver) throw error;
      }
    }
  }

  async #sendOnce(
    { method, path, body, contentType }: RawRequest,
    credentials: Credentials,
    pool: "requests" | "streams",
    { signal }: Deadline,
  ): Promise<Dispatcher.ResponseData> {
    const sending = send(`${credentials.server.replace(/\/$/, "")}${path}`, {
      method,
      dispatcher: this.#poolsFor(credentials)[pool],
      signal,
      headersTimeout: 0,
      bodyTimeout: 0,
      headers: {
        accept: "application/json",
        "user-agent": this.#options.userAgent,
        ...(body !== undefined && { "content-type": contentType ?? "application/json" }),
        ...credentials.headers,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    // undici looks at the signal once it is connected, and to a server that stands still that takes its time
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([sending, aborted]);
    } finally {
      signal.removeEventListener("abort", onAbort);
      sending.catch(() => undefined); // whoever waited for it has been told
    }
  }

  #poolsFor({ identity, tls }: Credentials): Pools {
    if (this.#isClosed) throw new KubeError("unavailable", "The connection to the API server was closed by this process.");
    if (this.#pools?.identity === identity) return this.#pools;
    // Requests under way end in peace on the old connections; an open watch is ended by the server before long.
    void this.#pools?.requests.close();
    void this.#pools?.streams.close();
    const agent = (connections: number): Agent =>
      new Agent({
        allowH2: false,
        connections,
        keepAliveTimeout: KEEP_ALIVE_MS,
        keepAliveMaxTimeout: KEEP_ALIVE_MS,
        connect: { ...tls, keepAlive: true, keepAliveInitialDelay: 30_000, timeout: 10_000 },
      });
    this.#pools = { identity, requests: agent(CONNECTIONS), streams: agent(WATCH_CONNECTIONS) };
    return this.#pools;
  }
}

/** Aborts a request when its caller does or when its time is over, and knows afterwards which of the two it was. */
class Deadline {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #clock: Clock;
  readonly #onAbort = (): void => this.#controller.abort();
  #endMs = 0;
  #timerMs = Number.POSITIVE_INFINITY;
  #limitMs = 0;
  #isOver = false;
  #cancel: (() => void) | undefined;

  constructor(caller: AbortSignal | undefined, clock: Clock) {
    caller?.throwIfAborted();
    this.#caller = caller;
    this.#clock = clock;
    caller?.addEventListener("abort", this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get isOver(): boolean {
    return this.#isOver || this.#caller?.aborted === true;
  }

  /** Moves the end to `limitMs` from now. Cheap when it moves away: a timer that fires early looks again. */
  arm(limitMs: number): void {
    this.#limitMs = limitMs;
    this.#endMs = this.#clock.monotonicMs() + limitMs;
    if (this.#endMs < this.#timerMs) this.#setTimer();
  }

  #setTimer(): void {
    this.#cancel?.();
    this.#timerMs = this.#endMs;
    this.#cancel = this.#clock.after(this.#endMs - this.#clock.monotonicMs(), () => this.#look());
  }

  #look(): void {
    if (this.#endMs > this.#clock.monotonicMs()) {
      this.#setTimer();
      return;
    }
    this.#isOver = true;
    this.#controller.abort();
  }

  end(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#caller?.removeEventListener("abort", this.#onAbort);
    this.#controller.abort();
  }

  /** The error that the caller should see. */
  explain(error: unknown, what: string): unknown {
    if (this.#caller?.aborted === true) return this.#caller.reason;
    if (this.#isOver) return new KubeError("timeout", `${what} had no answer for ${this.#limitMs / 1000} s.`, { cause: error });
    if (error instanceof KubeError) return error;
    const reason = error instanceof Error ? error.message : String(error);
    return new KubeError("unavailable", `${what} failed: ${reason}`, { cause: error });
  }
}

const describe = ({ method, path }: RawRequest): string => `${method} ${path}`;

function parseJson(what: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new KubeError("unexpected", `${what} was answered with something other than JSON.`, { cause });
  }
}

import { type ClientRequest, type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import type { Credentials } from "./credentials.ts";
import { errorOfAnswer, isKubeError, KubeError } from "./errors.ts";
import type { RawRequest } from "./transport.ts";

/** What stands between us and the API server may swallow the word to go on. */
const LONGEST_WAIT_MS = 2_000;

export interface TogetherOptions {
  readonly credentials: Credentials;
  readonly userAgent: string;
  readonly signal: AbortSignal;
}

/**
 * Carries several changes out, none of which is begun before the API server has let all of them in. Each request says that its body waits
 * for the word to go on (RFC 9110, Expect: 100-continue); the API server gives it when it begins to read the body, which is after it
 * found out who asks and whether he may (https://pkg.go.dev/net/http#Handler). The bodies then go one after the other, in this order. What is
 * not there any more counts as done. Throws a KubeError at the first failure, and begins nothing after it.
 */
export async function sendTogether(requests: readonly RawRequest[], options: TogetherOptions): Promise<void> {
  const calls = requests.map((request) => open(request, options));
  try {
    await Promise.all(calls.map((call) => call.letIn));
    for (const call of calls) await call.finish();
  } finally {
    for (const call of calls) call.close();
  }
}

interface Call {
  readonly letIn: Promise<void>;
  finish(): Promise<void>;
  close(): void;
}

function open(request: RawRequest, { credentials, userAgent, signal }: TogetherOptions): Call {
  const { method, path, body, contentType } = request;
  const what = `${method} ${path}`;
  const text = JSON.stringify(body ?? {});
  const url = new URL(`${credentials.server.replace(/\/$/, "")}${path}`);
  const send = url.protocol === "http:" ? requestHttp : requestHttps;
  const sent = send(url, {
    method,
    ...credentials.tls,
    agent: false,
    signal,
    headers: {
      ...credentials.headers,
      accept: "application/json",
      "user-agent": userAgent,
      "content-type": contentType ?? "application/json",
      "content-length": Buffer.byteLength(text),
      expect: "100-continue",
    },
  });
  const answer = readAnswer(sent, what);
  // Looked at by whoever waits for it; others may have failed first.
  answer.catch(() => undefined);
  const { promise: letIn, resolve } = Promise.withResolvers<void>();
  sent.once("continue", resolve);
  const timer = setTimeout(resolve, LONGEST_WAIT_MS);
  sent.flushHeaders();
  return {
    // An answer that comes before the word to go on is a refusal.
    letIn: Promise.race([letIn, answer]).finally(() => clearTimeout(timer)),
    async finish() {
      sent.end(text);
      await answer;
    },
    close: () => sent.destroy(),
  };
}

async function readAnswer(sent: ClientRequest, what: string): Promise<void> {
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      sent.once("response", resolve);
      sent.on("error", reject);
    });
    const pieces: Buffer[] = [];
    for await (const piece of response) pieces.push(piece as Buffer);
    const statusCode = response.statusCode ?? 0;
    if (statusCode >= 200 && statusCode < 300) return;
    const error = errorOfAnswer({ request: what, statusCode, body: Buffer.concat(pieces).toString() });
    if (error.kind !== "not-found") throw error;
  } catch (error) {
    if (isKubeError(error)) throw error;
    throw new KubeError("unavailable", `${what} failed: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

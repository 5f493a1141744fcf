import type { Server as HttpServer } from "node:http";
import { createServer, type Server as HttpsServer } from "node:https";
import type { Server } from "node:net";
import express, { type ErrorRequestHandler, type RequestHandler } from "express";
import type { Log } from "../common/log.ts";
import { type AdmissionRequest, parseReview, renderAnswer, type Verdict } from "./admission-review.ts";
import type { WebhookMetrics } from "./metrics.ts";

/** Answers a review. What it throws becomes `onCrash`. */
export interface Reviewer {
  readonly path: string;
  readonly review: (request: AdmissionRequest) => Verdict | Promise<Verdict>;
  /** The answer when `review` throws: a pod is let through, an experiment is refused. */
  readonly onCrash: Verdict;
}

export interface ServingCertificate {
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
}

export interface WebhookServer {
  readonly port: number;
  /** New connections get the new certificate; open ones live on. */
  replaceCertificate(certificate: ServingCertificate): void;
  /** Closes idle connections and lets requests under way end. */
  close(): Promise<void>;
}

/** The API server sends the old and the new object, each of up to 3 MiB. */
const LARGEST_BODY = "7mb";
/** The API server keeps idle connections for 90 s; whoever closes first makes an admission fail at random. */
const KEEP_ALIVE_MS = 120_000;

export async function serveReviews({
  reviewers,
  certificate,
  port,
  metrics,
  log,
}: {
  readonly reviewers: readonly Reviewer[];
  readonly certificate: ServingCertificate;
  /** 0 takes a free one. */
  readonly port: number;
  readonly metrics: WebhookMetrics;
  readonly log: Log;
}): Promise<WebhookServer> {
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.use(express.json({ limit: LARGEST_BODY, inflate: false, strict: true }));
  for (const reviewer of reviewers) app.post(reviewer.path, answerWith(reviewer, metrics, log));
  app.use(
    (_request, response) =>
      void response.status(404).json({ error: `There are only ${reviewers.map(({ path }) => path).join(", ")}, for POST.` }),
  );
  app.use(explainError(log));
  const server = createServer({ ...certificate, minVersion: "TLSv1.2" }, app);
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.headersTimeout = KEEP_ALIVE_MS + 5_000;
  server.requestTimeout = 30_000;
  const close = prepareClose(server);
  return {
    port: await listen(server, port),
    replaceCertificate: (renewed) => server.setSecureContext({ ...renewed, minVersion: "TLSv1.2" }),
    close,
  };
}

function answerWith({ path, review, onCrash }: Reviewer, metrics: WebhookMetrics, log: Log): RequestHandler {
  return async (request, response) => {
    const started = performance.now();
    const parsed = parseReview(request.body);
    if (!parsed.ok) {
      response.status(400).json({ error: parsed.problem });
      return;
    }
    let verdict: Verdict;
    try {
      verdict = await review(parsed.request);
    } catch (error) {
      log.error({ err: error, path, namespace: parsed.request.namespace }, "a review crashed");
      verdict = onCrash;
    }
    const answer = JSON.stringify(renderAnswer(parsed.request.uid, verdict));
    response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(answer) }).end(answer);
    metrics.count({ path, code: verdict.code, isAllowed: verdict.isAllowed, seconds: (performance.now() - started) / 1000 });
  };
}

/** What never became a review: too large, no JSON, cut off. The sender hears what is wrong with it. */
function explainError(log: Log): ErrorRequestHandler {
  return (error: unknown, _request, response, _next) => {
    const status = error instanceof Error && "status" in error && typeof error.status === "number" ? error.status : 500;
    if (status >= 500) log.error({ err: error }, "a request could not be served");
    response.status(status).json({
      error: status === 413 ? `The body is larger than ${LARGEST_BODY}.` : status < 500 ? "The body is no JSON object." : "Internal error.",
    });
  };
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    // Without an address Node takes both families, or the one that there is.
    server.listen(port, () => {
      const bound = server.address();
      resolve(typeof bound === "object" && bound !== null ? bound.port : port);
    });
  });
}

/**
 * How to close the server: requests under way end first, all other connections at once. The API server dials more of them than it uses, and
 * one that never asked anything is not idle for `server.closeIdleConnections`.
 */
function prepareClose(server: HttpServer | HttpsServer): () => Promise<void> {
  let underWay = 0;
  let isClosing = false;
  server.on("request", (_request, response) => {
    underWay += 1;
    response.once("close", () => {
      underWay -= 1;
      if (isClosing && underWay === 0) server.closeAllConnections();
    });
  });
  return () =>
    new Promise((resolve) => {
      isClosing = true;
      server.close(() => resolve());
      if (underWay === 0) server.closeAllConnections();
      else server.closeIdleConnections();
    });
}

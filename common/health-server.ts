import { createServer } from "node:http";

export interface HealthServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Liveness, readiness and metrics: plain HTTP, read-only. */
export async function serveHealth({
  port,
  registry,
  whyNotReady,
  whyNotAlive,
}: {
  readonly port: number;
  /** A registry of prom-client. */
  readonly registry: { readonly contentType: string; metrics(): Promise<string> };
  /** Undefined when ready. */
  readonly whyNotReady: () => string | undefined;
  /** Undefined while all is well. */
  readonly whyNotAlive: () => string | undefined;
}): Promise<HealthServer> {
  const server = createServer((request, response) => {
    const answer = (code: number, text: string, type = "text/plain"): void =>
      void response.writeHead(code, { "content-type": type }).end(text);
    const judge = (why: string | undefined): void => answer(why === undefined ? 200 : 503, why ?? "ok");
    if (request.url === "/healthz") judge(whyNotAlive());
    else if (request.url === "/readyz") judge(whyNotReady());
    else if (request.url === "/metrics") {
      registry.metrics().then(
        (text) => answer(200, text, registry.contentType),
        (error: unknown) => answer(500, String(error)),
      );
    } else answer(404, "There are /healthz, /readyz and /metrics.");
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    // Without an address Node takes both families, or the one that there is.
    server.listen(port, resolve);
  });
  const bound = server.address();
  return {
    port: typeof bound === "object" && bound !== null ? bound.port : port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

import { createServer } from "node:http";
import type { ControllerMetrics } from "./metrics.ts";

export interface HealthServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Liveness, readiness and metrics: plain HTTP, read-only. */
export async function serveHealth({
  port,
  metrics,
  whyNotReady,
  isAlive,
}: {
  readonly port: number;
  readonly metrics: ControllerMetrics;
  /** Undefined when ready. */
  readonly whyNotReady: () => string | undefined;
  readonly isAlive: () => boolean;
}): Promise<HealthServer> {
  const server = createServer((request, response) => {
    const answer = (code: number, text: string, type = "text/plain"): void =>
      void response.writeHead(code, { "content-type": type }).end(text);
    const why = whyNotReady();
    if (request.url === "/healthz") answer(isAlive() ? 200 : 503, isAlive() ? "ok" : "the API server has been silent for too long");
    else if (request.url === "/readyz") answer(why === undefined ? 200 : 503, why ?? "ok");
    else if (request.url === "/metrics") {
      metrics.registry.metrics().then(
        (text) => answer(200, text, metrics.registry.contentType),
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

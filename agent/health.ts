import { type ServiceError, status } from "@grpc/grpc-js";
import { HealthCheckResponse_ServingStatus as Serving, type HealthServer } from "../proto/gen/grpc/health/v1/health.ts";

/** gRPC's health protocol for services that serve for as long as the process lives. "" stands for the whole of it. */
export function serveHealth(services: readonly string[]): HealthServer {
  const known = new Set(["", ...services]);
  return {
    check: ({ request: { service } }, reply) => {
      if (known.has(service)) reply(null, { status: Serving.SERVING });
      else reply(unknownService(service));
    },
    // Whoever watches is told once: there is no change to come but the end of the connection.
    watch: (call) => void call.write({ status: known.has(call.request.service) ? Serving.SERVING : Serving.SERVICE_UNKNOWN }),
    list: (_call, reply) => reply(null, { statuses: Object.fromEntries([...known].map((name) => [name, { status: Serving.SERVING }])) }),
  };
}

const unknownService = (service: string): Partial<ServiceError> => ({
  code: status.NOT_FOUND,
  details: `No service is called ${JSON.stringify(service)}.`,
});

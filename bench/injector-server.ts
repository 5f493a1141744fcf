import { createServer } from "node:https";
import jsonpatch from "fast-json-patch";
import { createAuthority, openAuthority } from "../certs/authority.ts";
import { silentLog } from "../common/log.ts";
import { allowed } from "../webhook/admission-review.ts";
import { injectSidecar } from "../webhook/inject.ts";
import { createMetrics } from "../webhook/metrics.ts";
import { serveReviews } from "../webhook/server.ts";

/** `node bench/injector-server.ts injector|bare`: serves on a free port of loopback and tells it to its parent. Both answer with a patch of the same size class. */
const now = new Date();
const validity = { now, lifetimeMs: 3_600_000 };
const { certificate, key } = await openAuthority(await createAuthority(validity)).issueServer(["localhost"], validity);

if (process.argv[2] === "injector") {
  const facts = {
    image: "squall:0",
    version: "0",
    enrolmentAddress: "x:1",
    logLevel: "info",
    isImageReady: true,
    kubernetesMinor: 34,
    namespaceAnnotations: {},
  };
  const server = await serveReviews({
    reviewers: [
      {
        path: "/inject",
        review: (request) => injectSidecar(request, { factsFor: () => facts, onSkip: () => undefined }),
        onCrash: allowed,
      },
    ],
    certificate: { cert: certificate, key },
    address: { host: "127.0.0.1", port: 0 },
    metrics: createMetrics(),
    log: silentLog,
  });
  process.send?.(server.port);
} else {
  // The least that an injector can do: parse the review, answer with a patch of three steps.
  const patch = Buffer.from(
    JSON.stringify(
      jsonpatch.compare(
        { metadata: {}, spec: {} },
        { metadata: { annotations: { a: "b" } }, spec: { initContainers: [{ name: "x" }], volumes: [] } },
      ),
    ),
  ).toString("base64");
  const server = createServer({ cert: certificate, key }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const { request: review } = JSON.parse(Buffer.concat(chunks).toString()) as { readonly request: { readonly uid: string } };
      const answer = JSON.stringify({
        apiVersion: "admission.k8s.io/v1",
        kind: "AdmissionReview",
        response: { uid: review.uid, allowed: true, patchType: "JSONPatch", patch },
      });
      response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(answer) }).end(answer);
    });
  });
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    process.send?.(typeof address === "object" && address !== null ? address.port : 0);
  });
}

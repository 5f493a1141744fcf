import { createServer } from "node:https";
import jsonpatch from "fast-json-patch";
import { createAuthority, openAuthority } from "../certs/authority.ts";
import { systemClock } from "../common/clock.ts";
import { silentLog } from "../common/log.ts";
import { CONTROLLER_ACCOUNT } from "../common/names.ts";
import { FakeKube } from "../test/support/fake-kube.ts";
import { createMetrics } from "../webhook/metrics.ts";
import { createReviewers } from "../webhook/reviewers.ts";
import { serveReviews } from "../webhook/server.ts";

/**
 * `node bench/webhook-server.ts webhook|bare`: serves on a free port of loopback and tells it to its parent; asked for anything, it tells its
 * CPU time in microseconds. `webhook` is all of it with authors who may do everything; `bare` parses a review and answers with a patch.
 */
const now = new Date();
const validity = { now, lifetimeMs: 3_600_000 };
const { certificate, key } = await openAuthority(await createAuthority(validity)).issueServer(["localhost"], validity);

process.on("message", () => {
  const { user, system } = process.cpuUsage();
  process.send?.(user + system);
});

if (process.argv[2] === "webhook") {
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
    reviewers: createReviewers({
      policy: { admitUnsupported: true, controllerAccount: CONTROLLER_ACCOUNT },
      // asked by dry runs alone
      kube: new FakeKube(),
      access: { findMissing: () => Promise.resolve([]) },
      limits: { policies: [], haltOn: () => undefined },
      labelsOf: () => ({}),
      injector: { factsFor: () => facts, onSkip: () => undefined },
      clock: systemClock,
    }),
    certificate: { cert: certificate, key },
    port: 0,
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

import assert from "node:assert/strict";
import { Agent, request as httpsRequest } from "node:https";
import { connect, type TLSSocket } from "node:tls";
import { createAuthority, openAuthority } from "../../certs/authority.ts";
import { silentLog } from "../../common/log.ts";
import { allowed } from "../../webhook/admission-review.ts";
import { createMetrics } from "../../webhook/metrics.ts";
import { type Reviewer, serveReviews, type ServingCertificate, type WebhookServer } from "../../webhook/server.ts";

const review = {
  apiVersion: "admission.k8s.io/v1",
  kind: "AdmissionReview",
  request: { uid: "u-1", kind: { group: "", version: "v1", kind: "Pod" }, operation: "CREATE", object: { metadata: {} } },
};

describe("the webhook's server", () => {
  let server: WebhookServer;
  let certificates: readonly ServingCertificate[];
  const metrics = createMetrics();
  const reviewers: readonly Reviewer[] = [
    {
      path: "/ok",
      review: () => ({ ...allowed, code: "Injected", patch: [{ op: "add", path: "/metadata/labels", value: {} }] }),
      onCrash: allowed,
    },
    {
      path: "/crash",
      review: () => {
        throw new Error("boom");
      },
      onCrash: { isAllowed: false, code: "InternalError", message: "see the log" },
    },
  ];
  before(async () => {
    const authority = openAuthority(await createAuthority({ now: new Date(), lifetimeMs: 60_000 }));
    certificates = await Promise.all(
      ["one", "two"].map(async () => {
        const { certificate, key } = await authority.issueServer(["squall-webhook.squall-system.svc"], {
          now: new Date(),
          lifetimeMs: 60_000,
        });
        return { cert: certificate, key };
      }),
    );
    server = await serveReviews({
      reviewers,
      certificate: certificates[0] ?? assert.fail(),
      port: 0,
      metrics,
      log: silentLog,
    });
  });
  after(() => server.close());

  interface Reply {
    readonly status: number;
    readonly body: string;
  }
  function post(
    path: string,
    body: string | Buffer,
    {
      agent,
      type = "application/json",
      method = "POST",
      port = server.port,
    }: { readonly agent?: Agent; readonly type?: string; readonly method?: string; readonly port?: number } = {},
  ): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const sent = httpsRequest(
        { host: "127.0.0.1", port, path, method, agent, rejectUnauthorized: false, headers: { "content-type": type } },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("end", () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
        },
      );
      sent.on("error", reject);
      sent.end(body);
    });
  }

  it("answers a review with its UID, patch and reason code", async () => {
    const { status, body } = await post("/ok", JSON.stringify(review));
    assert.equal(status, 200);
    const { response } = JSON.parse(body) as {
      readonly response: { readonly uid: string; readonly allowed: boolean; readonly patch: string; readonly auditAnnotations: object };
    };
    assert.equal(response.uid, "u-1");
    assert.deepEqual(JSON.parse(Buffer.from(response.patch, "base64").toString()), [{ op: "add", path: "/metadata/labels", value: {} }]);
    assert.deepEqual(response.auditAnnotations, { reason: "Injected" });
  });

  it("makes an answer of a crash", async () => {
    const { response } = JSON.parse((await post("/crash", JSON.stringify(review))).body) as {
      readonly response: { readonly allowed: boolean; readonly status: { readonly message: string } };
    };
    assert.equal(response.allowed, false);
    assert.equal(response.status.message, "InternalError: see the log");
  });

  const bad: readonly (readonly [what: string, body: string | Buffer, status: number, says: RegExp, type?: string])[] = [
    ["no JSON", "{", 400, /no JSON object/],
    ["nothing", "", 400, /no AdmissionReview/],
    ["a list", "[]", 400, /no AdmissionReview/],
    ["another version", JSON.stringify({ ...review, apiVersion: "admission.k8s.io/v1beta1" }), 400, /apiVersion/],
    ["a review without a request", JSON.stringify({ ...review, request: undefined }), 400, /request/],
    ["a UID of 1 MiB", JSON.stringify({ ...review, request: { ...review.request, uid: "x".repeat(1 << 20) } }), 400, /uid/],
    ["another content type", JSON.stringify(review), 400, /no AdmissionReview/, "text/plain"],
    ["more than 7 MiB", Buffer.alloc(8 * 1024 * 1024, 0x20), 413, /larger than 7mb/],
  ];
  for (const [what, body, status, says, type] of bad) {
    it(`refuses ${what} with ${status}`, async () => {
      const reply = await post("/ok", body, type === undefined ? {} : { type });
      assert.equal(reply.status, status);
      assert.match(reply.body, says);
    });
  }

  it("knows its paths and methods", async () => {
    assert.equal((await post("/nowhere", "{}")).status, 404);
    assert.equal((await post("/ok", "", { method: "GET" })).status, 404);
  });

  it("keeps an idle connection longer than the 90 s of the API server", async () => {
    const agent = new Agent({ keepAlive: true, rejectUnauthorized: false });
    await post("/ok", JSON.stringify(review), { agent });
    const reply = await new Promise<string>((resolve) => {
      const socket = connect({ host: "127.0.0.1", port: server.port, rejectUnauthorized: false }, () =>
        socket.write("GET /ok HTTP/1.1\r\nhost: x\r\n\r\n"),
      );
      socket.once("data", (data) => {
        socket.destroy();
        resolve(data.toString());
      });
    });
    agent.destroy();
    assert.ok(Number(/keep-alive: timeout=(\d+)/i.exec(reply)?.[1]) > 90, reply);
  });

  it("shows a new certificate to new connections, while open ones live on", async () => {
    const serial = (socket: TLSSocket): string => socket.getPeerCertificate().serialNumber;
    const dial = (): Promise<TLSSocket> =>
      new Promise((resolve) => {
        const socket = connect({ host: "127.0.0.1", port: server.port, rejectUnauthorized: false }, () => resolve(socket));
      });
    const open = await dial();
    const before = serial(open);
    server.replaceCertificate(certificates[1] ?? assert.fail());
    const fresh = await dial();
    assert.notEqual(serial(fresh), before);
    assert.equal(open.readyState, "open");
    open.destroy();
    fresh.destroy();
  });

  it("ends once the review under way is answered, however many connections never asked anything", async () => {
    const held = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const ending = await serveReviews({
      reviewers: [
        {
          path: "/slow",
          async review() {
            asked.resolve();
            await held.promise;
            return allowed;
          },
          onCrash: allowed,
        },
      ],
      certificate: certificates[0] ?? assert.fail(),
      port: 0,
      metrics,
      log: silentLog,
    });
    const silent = await new Promise<TLSSocket>((resolve) => {
      const socket = connect({ host: "127.0.0.1", port: ending.port, rejectUnauthorized: false }, () => resolve(socket));
    });
    silent.on("error", () => undefined); // it is cut off
    const reply = post("/slow", JSON.stringify(review), { port: ending.port });
    await asked.promise;
    const closed = ending.close();
    held.resolve();
    assert.equal((await reply).status, 200);
    await closed;
    silent.destroy();
  });

  it("counts reviews by path, answer and code", async () => {
    assert.match(await metrics.registry.metrics(), /squall_webhook_reviews_total\{path="\/ok",allowed="true",code="Injected"\} \d+/);
  });
});

import assert from "node:assert/strict";
import { createPublicKey, X509Certificate } from "node:crypto";
import { connect } from "node:tls";
import { credentials, Metadata, type ServiceError, status } from "@grpc/grpc-js";
import { type Authority, createAuthority, openAuthority } from "../../certs/authority.ts";
import { type AgentKey, createAgentKey, proveKey } from "../../certs/keys.ts";
import { checkServerDnsName, uriOf } from "../../certs/peer.ts";
import { silentLog } from "../../common/log.ts";
import { type EnrolledAgent, type EnrolmentListener, startEnrolmentServer } from "../../controller/enrolment.ts";
import { KubeError } from "../../kube/errors.ts";
import { enrollingPods, persistentVolumeClaims, tokenReviews } from "../../kube/resources.ts";
import type { DesiredFaults, EnrolReply, EnrolRequest } from "../../proto/gen/agent.ts";
import { EnrolmentClient } from "../../proto/gen/services.ts";
import { emptyPassport } from "../support/fake-family.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { FakeKube } from "../support/fake-kube.ts";

const NAME = "squall-enrolment.squall-system.svc";
const now = new Date();
const hour = { now, lifetimeMs: 3_600_000 };
const goodStatus = {
  authenticated: true,
  audiences: ["squall-enrolment"],
  user: {
    username: "system:serviceaccount:shop:default",
    extra: { "authentication.kubernetes.io/pod-name": ["cart"], "authentication.kubernetes.io/pod-uid": ["u1"] },
  },
};

describe("enrolment", () => {
  let authority: Authority;
  let key: AgentKey;
  let kube: FakeKube;
  let clock: FakeClock;
  let server: EnrolmentListener;
  let client: EnrolmentClient;
  let isLeading: boolean;
  let podUid: string | undefined;
  let podSpec: object;
  let reviewed: unknown;
  let desired: DesiredFaults | undefined;
  let enrolled: EnrolledAgent[];
  let renew: () => void;
  const passports: string[] = [];
  let serving: Awaited<ReturnType<Authority["issueServer"]>>;
  const lines: string[] = [];
  const keep = (fields: object, message: string): void => void lines.push(`${JSON.stringify(fields)} ${message}`);
  const log = { ...silentLog, info: keep, warn: keep };

  before(async () => {
    authority = openAuthority(await createAuthority(hour));
    key = await createAgentKey();
  });
  beforeEach(async () => {
    kube = new FakeKube();
    clock = new FakeClock();
    isLeading = true;
    podUid = "u1";
    podSpec = { nodeName: "node-1" };
    reviewed = goodStatus;
    desired = undefined;
    enrolled = [];
    passports.length = 0;
    lines.length = 0;
    kube.answer(tokenReviews, () => ({ status: reviewed }));
    serving = await authority.issueServer([NAME], hour);
    server = await startEnrolmentServer({
      kube,
      clock,
      log,
      address: "127.0.0.1:0",
      certificates: {
        enrolmentCredential: () => serving,
        issueAgent: (uri, publicKey) => ({
          certificate: authority.issueAgent(uri, publicKey, hour),
          trusted: authority.certificate,
        }),
        onRenewal: (handler) => {
          renew = handler;
          return () => undefined;
        },
      },
      findPod: () =>
        Promise.resolve(
          podUid === undefined
            ? undefined
            : enrollingPods.parse({ metadata: { name: "cart", namespace: "shop", uid: podUid }, spec: podSpec }),
        ),
      desiredFor: (agent) => {
        enrolled.push(agent);
        return desired;
      },
      onPassport: ({ uid }, { devices }) => passports.push(`${uid} ${devices.join(",")}`),
      isLeading: () => isLeading,
    });
    client = connectClient();
  });
  afterEach(async () => {
    client.close();
    await server.close();
  });

  function connectClient(): EnrolmentClient {
    const channel = credentials.createSsl(Buffer.from(authority.certificate), null, null, {
      checkServerIdentity: (host, certificate) => checkServerDnsName(NAME)(host, certificate),
    });
    return new EnrolmentClient(`127.0.0.1:${server.port}`, channel, { "grpc.ssl_target_name_override": NAME });
  }
  function request(change: Partial<EnrolRequest> = {}): EnrolRequest {
    const token = change.token ?? "token-of-cart";
    return {
      token,
      publicKey: key.publicKey,
      proof: proveKey(key, token),
      agentVersion: "0.1.0",
      addresses: ["10.244.0.7"],
      passport: undefined,
      volumes: [],
      ...change,
    };
  }
  function enrol(sent = request(), through = client): Promise<EnrolReply> {
    return new Promise((resolve, reject) => {
      through.enrol(sent, new Metadata(), { deadline: Date.now() + 4_000 }, (error, reply) =>
        error === null ? resolve(reply) : reject(error),
      );
    });
  }
  const refusedWith = (code: status, text: RegExp) => (error: ServiceError) => {
    assert.equal(status[error.code], status[code]);
    assert.match(error.details, text);
    return true;
  };

  it("signs the key of the pod that the token is bound to", async () => {
    const reply = await enrol();
    const certificate = new X509Certificate(reply.certificate);
    assert.equal(uriOf(certificate), "spiffe://squall/ns/shop/pod/u1");
    assert.equal(certificate.publicKey.equals(createPublicKey(key.privateKey)), true);
    assert.equal(certificate.verify(new X509Certificate(reply.caCertificates).publicKey), true);
    assert.deepEqual(enrolled, [
      {
        agent: "u1",
        namespace: "shop",
        name: "cart",
        uid: "u1",
        serviceAccount: "default",
        addresses: ["10.244.0.7"],
        agentVersion: "0.1.0",
      },
    ]);
    const [review] = kube.requests;
    assert.deepEqual(review?.body, { metadata: {}, spec: { token: "token-of-cart", audiences: ["squall-enrolment"] } });
  });

  it("signs for its node the key of a daemon, and of no other pod of the system's namespace or of the account's name", async () => {
    const asAccount = async (account: string): Promise<string | undefined> => {
      reviewed = { ...goodStatus, user: { ...goodStatus.user, username: `system:serviceaccount:${account}` } };
      return uriOf(new X509Certificate((await enrol()).certificate));
    };
    assert.equal(await asAccount("squall-system:squall-daemon"), "spiffe://squall/node/node-1");
    assert.equal(enrolled.at(-1)?.agent, "node/node-1");
    assert.equal(await asAccount("squall-system:default"), "spiffe://squall/ns/squall-system/pod/u1");
    assert.equal(await asAccount("shop:squall-daemon"), "spiffe://squall/ns/shop/pod/u1");
  });

  it("keeps what the agent says of its surroundings, once it has proved who it is", async () => {
    const passport = { ...emptyPassport, devices: ["eth0"] };
    await assert.rejects(enrol(request({ token: "", passport })));
    assert.deepEqual(passports, []);
    await enrol(request({ passport }));
    assert.deepEqual(passports, ["u1 eth0"]);
  });

  it("answers with the faults that already apply", async () => {
    desired = { targetUid: "u1", order: { leaderEpoch: 3, generation: 1 }, faults: [] };
    assert.deepEqual((await enrol()).desired, desired);
  });

  describe("of a pod with several claims", () => {
    const claim = (name: string, volumeName: string): void =>
      void kube.seed(persistentVolumeClaims, { metadata: { namespace: "shop", name }, spec: { volumeName } });
    const claims = { data: "disk-a", wal: "disk-b", secret: undefined };
    beforeEach(() => {
      podSpec = {
        volumes: Object.entries(claims).map(([name, claimName]) =>
          claimName === undefined ? { name, secret: {} } : { name, persistentVolumeClaim: { claimName } },
        ),
      };
      claim("disk-a", "pv-a");
      claim("disk-b", "pv-b");
    });

    it("tells the persistent volumes that the sidecar asks for", async () => {
      assert.deepEqual((await enrol(request({ volumes: ["wal", "data"] }))).persistentVolumes, { data: "pv-a", wal: "pv-b" });
    });

    it("asks the API server for none where the sidecar asks for none, or its token is refused", async () => {
      assert.deepEqual((await enrol()).persistentVolumes, {});
      reviewed = { authenticated: false };
      await assert.rejects(enrol(request({ volumes: ["data"] })));
      assert.deepEqual(
        kube.requests.filter(({ verb }) => verb === "get"),
        [],
      );
    });

    it("is asked to try again when a claim cannot be read in time", async () => {
      kube.fail({ verb: "get", plural: "persistentvolumeclaims", until: new Promise(() => undefined) });
      const answer = assert.rejects(enrol(request({ volumes: ["data"] })), refusedWith(status.UNAVAILABLE, /in time/));
      while (!kube.requests.some(({ verb }) => verb === "get")) await new Promise((resolve) => setTimeout(resolve, 5));
      await clock.advance(5_000);
      await answer;
    });
  });

  const reviews: readonly [string, unknown, RegExp][] = [
    ["that expired or is nobody's", { authenticated: false, error: "expired" }, /does not accept/],
    ["of another audience", { ...goodStatus, audiences: ["https://kubernetes.default.svc"] }, /not for squall-enrolment/],
    ["of an API server that knows no audiences", { ...goodStatus, audiences: undefined }, /not for squall-enrolment/],
    ["of a person", { ...goodStatus, user: { ...goodStatus.user, username: "jane" } }, /not a service account/],
    ["that is not bound to a pod", { ...goodStatus, user: { username: goodStatus.user.username } }, /not bound to a pod/],
    [
      "bound to two pods",
      {
        ...goodStatus,
        user: { ...goodStatus.user, extra: { ...goodStatus.user.extra, "authentication.kubernetes.io/pod-uid": ["u1", "u2"] } },
      },
      /not bound to a pod/,
    ],
  ];
  for (const [what, answer, reason] of reviews)
    it(`refuses a token ${what}`, async () => {
      reviewed = answer;
      await assert.rejects(enrol(), refusedWith(status.UNAUTHENTICATED, reason));
      assert.deepEqual(enrolled, []);
    });

  it("refuses a token whose pod is gone, or another one of the same name by now", async () => {
    podUid = undefined;
    await assert.rejects(enrol(), refusedWith(status.UNAUTHENTICATED, /pod of this token is gone/));
    podUid = "u2";
    await assert.rejects(enrol(), refusedWith(status.UNAUTHENTICATED, /pod of this token is gone/));
  });

  it("refuses wrong keys, proofs and addresses without asking the API server", async () => {
    const other = await createAgentKey();
    const wrong: readonly [Partial<EnrolRequest>, status, RegExp][] = [
      [{ token: "" }, status.UNAUTHENTICATED, /token is missing/],
      [{ publicKey: Buffer.from("junk") }, status.INVALID_ARGUMENT, /public_key/],
      [{ proof: Buffer.alloc(0) }, status.INVALID_ARGUMENT, /proof/],
      [{ proof: proveKey(other, "token-of-cart") }, status.INVALID_ARGUMENT, /proof/],
      [{ proof: proveKey(key, "token-of-another") }, status.INVALID_ARGUMENT, /proof/],
      [{ addresses: ["10.0.0.1", "; rm -rf /"] }, status.INVALID_ARGUMENT, /addresses/],
      [{ addresses: Array.from({ length: 17 }, () => "10.0.0.1") }, status.INVALID_ARGUMENT, /addresses/],
      [{ volumes: Array.from({ length: 17 }, (_, index) => `v${index}`) }, status.INVALID_ARGUMENT, /more than 16 names/],
    ];
    for (const [change, code, reason] of wrong) await assert.rejects(enrol(request(change)), refusedWith(code, reason));
    assert.equal(kube.requests.length, 0);
  });

  it("refuses messages above 64 KB", async () => {
    await assert.rejects(enrol(request({ token: "x".repeat(70_000) })), refusedWith(status.RESOURCE_EXHAUSTED, /larger than max/));
    assert.equal(kube.requests.length, 0);
  });

  it("asks to try again while it does not lead, also when it lost the lead meanwhile", async () => {
    isLeading = false;
    await assert.rejects(enrol(), refusedWith(status.UNAVAILABLE, /does not lead/));
    isLeading = true;
    kube.answer(tokenReviews, () => {
      isLeading = false;
      return { status: goodStatus };
    });
    await assert.rejects(enrol(), refusedWith(status.UNAVAILABLE, /does not lead/));
  });

  it("asks to try again when the API server cannot be asked, and says nothing about why", async () => {
    kube.fail({ verb: "create", error: new KubeError("unavailable", "etcd at 10.0.0.9 is down") });
    await assert.rejects(
      enrol(),
      (error: ServiceError) => refusedWith(status.UNAVAILABLE, /Try again/)(error) && !error.details.includes("10.0.0.9"),
    );
  });

  it("gives up on an API server that does not answer", async () => {
    kube.fail({ verb: "create", until: new Promise(() => undefined) });
    const answer = assert.rejects(enrol(), refusedWith(status.UNAVAILABLE, /in time/));
    while (kube.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await clock.advance(5_000);
    await answer;
  });

  it("lets one address come twenty times a minute", async () => {
    for (let visit = 0; visit < 20; visit += 1) await enrol();
    await assert.rejects(enrol(), refusedWith(status.RESOURCE_EXHAUSTED, /too often/));
    await clock.advance(60_000);
    await enrol();
  });

  it("writes neither token nor strangers' bytes into the log", async () => {
    await enrol(request({ agentVersion: '1.0\n{"level":"error"} \u001b[2J' }));
    reviewed = { authenticated: false };
    await assert.rejects(enrol(request({ token: "secret-token" })));
    assert.equal(lines.length, 2);
    assert.doesNotMatch(lines.join(""), /token-of-cart|secret-token|\\n|u001b/);
    assert.match(lines[0] ?? "", /"target":"shop\/cart".*agent enrolled/);
  });

  it("shows a renewed certificate to new connections, and open ones live on", async () => {
    await enrol();
    const before = serving;
    serving = await authority.issueServer([NAME], hour);
    renew();
    const other = connectClient();
    const seen = await new Promise<Buffer>((resolve, reject) => {
      const socket = connect(
        { host: "127.0.0.1", port: server.port, ca: authority.certificate, servername: NAME, ALPNProtocols: ["h2"] },
        () => {
          resolve(socket.getPeerCertificate().raw);
          socket.destroy();
        },
      );
      socket.on("error", reject);
    });
    assert.equal(new X509Certificate(seen).serialNumber, new X509Certificate(serving.certificate).serialNumber);
    assert.notEqual(new X509Certificate(seen).serialNumber, new X509Certificate(before.certificate).serialNumber);
    await enrol(request(), other);
    await enrol();
    other.close();
  });

  it("speaks TLS 1.3 only", async () => {
    const code = await new Promise<string>((resolve) => {
      const socket = connect(
        { host: "127.0.0.1", port: server.port, ca: authority.certificate, servername: NAME, maxVersion: "TLSv1.2" },
        () => resolve("connected"),
      );
      socket.on("error", (error: Error & { code?: string }) => resolve(error.code ?? ""));
    });
    assert.match(code, /PROTOCOL_VERSION|ALERT/);
  });
});

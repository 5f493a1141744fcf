import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { Server, status } from "@grpc/grpc-js";
import { type Authority, createAuthority, openAuthority } from "../../certs/authority.ts";
import { RenewableServerCredentials } from "../../certs/grpc-server-credentials.ts";
import { podUri } from "../../certs/identity.ts";
import { verifyProof } from "../../certs/keys.ts";
import { validityOf } from "../../certs/renewal.ts";
import type { Log } from "../../common/log.ts";
import { services, SYSTEM_NAMESPACE } from "../../common/names.ts";
import type { EnrolRequest } from "../../proto/gen/agent.ts";
import { EnrolmentService, type EnrolmentServer } from "../../proto/gen/services.ts";
import { enrolUntilDone, type EnrolmentOptions } from "../../agent/enrolment.ts";
import { emptyPassport } from "../support/fake-family.ts";
import { FakeClock } from "../support/fake-clock.ts";

const now = new Date();
const TOKEN = "very-secret-token";

describe("enrolment of a sidecar", () => {
  let folder: string;
  let server: Server;
  let authority: Authority;
  let options: EnrolmentOptions;
  let clock: FakeClock;
  let logged: string;
  let requests: EnrolRequest[];
  let failures: number;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "squall-enrol-"));
    authority = openAuthority(await createAuthority({ now, lifetimeMs: 3_600_000 }));
    const name = `${services.enrolment}.${SYSTEM_NAMESPACE}.svc`;
    requests = [];
    failures = 0;
    const enrolment: EnrolmentServer = {
      enrol: ({ request }, callback) => {
        requests.push(request);
        if (failures-- > 0) callback({ code: status.UNAVAILABLE, details: "This controller does not lead. Try again." });
        else
          callback(null, { certificate: leafFor(request), caCertificates: "cas", desired: undefined, persistentVolumes: { data: "pv-1" } });
      },
    };
    server = new Server();
    server.addService(EnrolmentService, enrolment);
    const credentials = new RenewableServerCredentials(await authority.issueServer([name], { now, lifetimeMs: 3_600_000 }));
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
    );
    await writeFile(join(folder, "token"), TOKEN);
    await writeFile(join(folder, "ca.crt"), authority.certificate);
    options = {
      address: `127.0.0.1:${port}`,
      tokenPath: join(folder, "token"),
      caPath: join(folder, "ca.crt"),
      podIps: ["10.244.0.7"],
      version: "0.1.0",
      passport: emptyPassport,
    };
    clock = new FakeClock();
    logged = "";
  });
  afterEach(async () => {
    server.forceShutdown();
    await rm(folder, { recursive: true });
  });

  const leafFor = ({ publicKey }: EnrolRequest): string =>
    authority.issueAgent(podUri({ namespace: "shop", uid: "u1" }), publicKey, { now, lifetimeMs: 3_600_000 });

  const note = (fields: object, message: string): void => void (logged += `${message} ${inspect(fields, { depth: 9 })}\n`);
  const log = (): Log => ({ debug: note, info: note, warn: note, error: note, child: log });

  /** Waits really for the network, and not at all between attempts. */
  async function runOut<T>(enrolling: Promise<T>): Promise<T> {
    let isDone = false;
    const watched = enrolling.finally(() => {
      isDone = true;
    });
    for (;;) {
      if (isDone) return watched;
      await clock.advance(60_000);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  it("proves its key and its token, and tells what can be done here", async () => {
    const enrolled = await runOut(enrolUntilDone(options, { clock, log: log(), signal: new AbortController().signal }));
    const [request] = requests;
    assert.ok(request && verifyProof(request));
    assert.ok(new X509Certificate(enrolled.certificate).checkPrivateKey(createPrivateKey(enrolled.privateKey)));
    assert.equal(enrolled.caCertificates, "cas");
    assert.deepEqual(enrolled.validity, validityOf(enrolled.certificate));
    assert.deepEqual(request.passport, emptyPassport);
    assert.deepEqual(request.volumes, []);
    assert.match(enrolled.privateKey, /PRIVATE KEY/);
  });

  it("asks for the persistent volumes of volumes", async () => {
    const asking = { ...options, volumes: ["data"] };
    const enrolled = await runOut(enrolUntilDone(asking, { clock, log: log(), signal: new AbortController().signal }));
    assert.deepEqual(requests[0]?.volumes, ["data"]);
    assert.deepEqual(enrolled.persistentVolumes, { data: "pv-1" });
  });

  it("tries again for as long as it takes, each time with a key of its own, and logs a reason once and the token never", async () => {
    failures = 5;
    await runOut(enrolUntilDone(options, { clock, log: log(), signal: new AbortController().signal }));
    assert.equal(requests.length, 6);
    assert.equal(new Set(requests.map(({ publicKey }) => publicKey.toString("hex"))).size, 6);
    assert.equal(logged.match(/tried again/g)?.length, 1);
    assert.ok(!logged.includes(TOKEN));
  });

  it("waits for a CA and a token that are not there yet", async () => {
    await rm(options.caPath);
    const enrolling = enrolUntilDone(options, { clock, log: log(), signal: new AbortController().signal });
    await clock.advance(1_000);
    await writeFile(options.caPath, authority.certificate);
    assert.match((await runOut(enrolling)).certificate, /BEGIN CERTIFICATE/);
  });

  it("does not enrol with a server of another CA", async () => {
    const stranger = openAuthority(await createAuthority({ now, lifetimeMs: 3_600_000 }));
    await writeFile(options.caPath, stranger.certificate);
    const end = new AbortController();
    const enrolling = enrolUntilDone(options, { clock, log: log(), signal: end.signal });
    const watched = assert.rejects(enrolling);
    for (let turn = 0; turn < 50 && !logged.includes("tried again"); turn++) await new Promise((resolve) => setTimeout(resolve, 10));
    end.abort(new Error("over"));
    await watched;
    assert.deepEqual(requests, []);
    assert.ok(!logged.includes(TOKEN));
  });
});

import assert from "node:assert/strict";
import { connect, type ConnectionOptions, createServer, type PeerCertificate, type Server } from "node:tls";
import { type Authority, createAuthority, type Credential, openAuthority } from "../../certs/authority.ts";
import { CONTROLLER_URI, podUri } from "../../certs/identity.ts";
import { createAgentKey } from "../../certs/keys.ts";
import { checkServerDnsName, checkServerUri, whyNotPeer } from "../../certs/peer.ts";

const HOUR = 3_600_000;
const now = new Date();
const pod = podUri({ namespace: "shop", uid: "u1" });

/** One handshake on loopback: what the client and the server each made of it. */
async function shakeHands(
  server: Credential & { readonly clientCas: string },
  client: ConnectionOptions,
): Promise<{ client: string; server: string }> {
  let seen = "no connection";
  const listener: Server = createServer(
    { cert: server.certificate, key: server.key, ca: server.clientCas, requestCert: true, rejectUnauthorized: true, minVersion: "TLSv1.3" },
    (socket) => {
      seen = whyNotPeer(socket.getPeerCertificate(), CONTROLLER_URI) ?? "the controller";
      socket.on("error", () => undefined);
      socket.end("x");
    },
  );
  listener.on("tlsClientError", (error) => {
    seen = `refused: ${"code" in error ? String(error.code) : error.message}`;
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const address = listener.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const said = await new Promise<string>((resolve) => {
    const socket = connect({ ...client, host: "127.0.0.1", port }, () => socket.resume());
    socket.on("error", (error: Error & { code?: string }) => resolve(error.code ?? error.message));
    socket.on("end", () => resolve("ok"));
  });
  await new Promise((resolve) => listener.close(resolve));
  return { client: said, server: seen };
}

describe("a TLS connection between controller and agent", () => {
  let authority: Authority;
  let stranger: Authority;
  let controller: Credential;
  let agent: Credential & { readonly clientCas: string };

  before(async () => {
    authority = openAuthority(await createAuthority({ now, lifetimeMs: HOUR }));
    stranger = openAuthority(await createAuthority({ now, lifetimeMs: HOUR }));
    controller = await authority.issueClient(CONTROLLER_URI, { now, lifetimeMs: HOUR });
    agent = await agentOf(authority, pod);
  });

  async function agentOf(by: Authority, uri: string, at = now, lifetimeMs = HOUR) {
    const key = await createAgentKey();
    return {
      certificate: by.issueAgent(uri, key.publicKey, { now: at, lifetimeMs }),
      key: key.privateKey,
      clientCas: authority.certificate,
    };
  }
  const as = (client: Credential | undefined, uri = pod): ConnectionOptions => ({
    ca: authority.certificate,
    ...(client && { cert: client.certificate, key: client.key }),
    checkServerIdentity: (host: string, certificate: PeerCertificate) => checkServerUri(uri)(host, certificate),
  });

  it("stands when both are who they should be", async () => {
    assert.deepEqual(await shakeHands(agent, as(controller)), { client: "ok", server: "the controller" });
  });

  it("stands during a rotation, when the peer knows both CAs", async () => {
    const both = `${stranger.certificate}${authority.certificate}`;
    assert.deepEqual(await shakeHands({ ...agent, clientCas: both }, { ...as(controller), ca: both }), {
      client: "ok",
      server: "the controller",
    });
  });

  it("is refused to a client without a certificate", async () => {
    assert.match((await shakeHands(agent, as(undefined))).server, /refused/);
  });

  it("is refused to a client of another CA", async () => {
    assert.match((await shakeHands(agent, as(await stranger.issueClient(CONTROLLER_URI, { now, lifetimeMs: HOUR })))).server, /refused/);
  });

  it("is refused to an agent that plays the client with its own certificate", async () => {
    const thief = await agentOf(authority, podUri({ namespace: "shop", uid: "thief" }));
    assert.match((await shakeHands(agent, as(thief))).server, /refused/);
  });

  it("tells the server a client of ours that is not the controller", async () => {
    const other = await authority.issueClient("spiffe://squall/other", { now, lifetimeMs: HOUR });
    assert.equal((await shakeHands(agent, as(other))).server, `The peer is spiffe://squall/other; ${CONTROLLER_URI} was expected.`);
  });

  it("is refused to an expired client", async () => {
    const old = await authority.issueClient(CONTROLLER_URI, { now: new Date(now.getTime() - 2 * HOUR), lifetimeMs: HOUR });
    assert.match((await shakeHands(agent, as(old))).server, /refused/);
  });

  it("is refused by the controller where another pod answers", async () => {
    const other = await agentOf(authority, podUri({ namespace: "shop", uid: "u2" }));
    assert.match((await shakeHands(other, as(controller))).client, /The peer is .*u2; .*u1 was expected/);
  });

  it("is refused by the controller where an agent of another CA or an expired one answers", async () => {
    assert.equal((await shakeHands(await agentOf(stranger, pod), as(controller))).client, "UNABLE_TO_VERIFY_LEAF_SIGNATURE");
    const expired = await agentOf(authority, pod, new Date(now.getTime() - 2 * HOUR));
    assert.equal((await shakeHands(expired, as(controller))).client, "CERT_HAS_EXPIRED");
  });

  it("is refused by the controller where a client certificate answers", async () => {
    const server = { ...controller, clientCas: authority.certificate };
    assert.equal((await shakeHands(server, as(controller, CONTROLLER_URI))).client, "INVALID_PURPOSE");
  });

  it("checks the DNS name of a Service whatever address was dialled", async () => {
    const name = "squall-enrolment.squall-system.svc";
    const server = { ...(await authority.issueServer([name], { now, lifetimeMs: HOUR })), clientCas: authority.certificate };
    const expecting = (expected: string): ConnectionOptions => ({
      ...as(controller),
      checkServerIdentity: (host: string, certificate: PeerCertificate) => checkServerDnsName(expected)(host, certificate),
    });
    assert.equal((await shakeHands(server, expecting(name))).client, "ok");
    assert.match((await shakeHands(server, expecting("other.svc"))).client, /other\.svc was expected/);
  });
});

describe("whyNotPeer", () => {
  it("names a peer that showed nothing", () => {
    assert.match(whyNotPeer(undefined, CONTROLLER_URI) ?? "", /showed no certificate/);
    assert.match(whyNotPeer({}, CONTROLLER_URI) ?? "", /showed no certificate/);
  });

  it("refuses a certificate with two URIs", async () => {
    const { makeCertificate } = await import("../../certs/x509.ts");
    const key = await createAgentKey();
    const { createPrivateKey } = await import("node:crypto");
    const ca = await createAuthority({ now, lifetimeMs: HOUR });
    const raw = makeCertificate(
      {
        commonName: "x",
        purpose: "client",
        uris: [CONTROLLER_URI, pod],
        publicKey: key.publicKey,
        notBefore: now,
        notAfter: new Date(now.getTime() + HOUR),
      },
      { commonName: "ca", key: createPrivateKey(ca.key) },
    );
    assert.match(whyNotPeer({ raw }, CONTROLLER_URI) ?? "", /nobody that Squall names/);
  });
});

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createPublicKey, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Authority, createAuthority, type Credential, openAuthority } from "../../certs/authority.ts";
import { ROTATION_RULES } from "../../certs/rotation.ts";
import { CONTROLLER_URI, parsePodUri, podUri } from "../../certs/identity.ts";
import { createAgentKey } from "../../certs/keys.ts";
import { dnsNamesOf, uriOf } from "../../certs/peer.ts";

const now = new Date();
const day = { now, lifetimeMs: ROTATION_RULES.leafLifetimeMs };
const serverAuth = "1.3.6.1.5.5.7.3.1";
const clientAuth = "1.3.6.1.5.5.7.3.2";

describe("Authority", () => {
  let ca: Credential;
  let authority: Authority;
  before(async () => {
    ca = await createAuthority({ now, lifetimeMs: ROTATION_RULES.authorityLifetimeMs });
    authority = openAuthority(ca);
  });

  it("signs itself as a CA that may sign leaves only", () => {
    const parsed = new X509Certificate(ca.certificate);
    assert.equal(parsed.ca, true);
    assert.equal(parsed.verify(parsed.publicKey), true);
    assert.match(parsed.subject, /^CN=Squall CA [0-9a-f]{12}$/);
  });

  it("issues an agent a certificate for the key it brought, for its pod, as a server and nothing else", async () => {
    const key = await createAgentKey();
    const uri = podUri({ namespace: "shop", uid: "0b9d1c2e-1111-4222-8333-444455556666" });
    const leaf = new X509Certificate(authority.issueAgent(uri, key.publicKey, day));
    const root = new X509Certificate(ca.certificate);
    assert.equal(leaf.verify(root.publicKey), true);
    assert.equal(leaf.checkIssued(root), true);
    assert.equal(leaf.publicKey.equals(createPublicKey(key.privateKey)), true);
    assert.equal(uriOf(leaf), uri);
    assert.deepEqual(leaf.keyUsage, [serverAuth]);
    assert.equal(leaf.ca, false);
    assert.equal(leaf.validFromDate.getTime(), Math.floor((now.getTime() - 300_000) / 1000) * 1000);
    assert.equal(leaf.validToDate.getTime(), Math.floor((now.getTime() + ROTATION_RULES.leafLifetimeMs) / 1000) * 1000);
  });

  it("issues servers their DNS names and clients their URI, each with one purpose", async () => {
    const server = new X509Certificate((await authority.issueServer(["a.squall-system.svc", "a.squall-system"], day)).certificate);
    assert.deepEqual(dnsNamesOf(server), ["a.squall-system.svc", "a.squall-system"]);
    assert.deepEqual(server.keyUsage, [serverAuth]);
    const client = new X509Certificate((await authority.issueClient(CONTROLLER_URI, day)).certificate);
    assert.equal(uriOf(client), CONTROLLER_URI);
    assert.deepEqual(client.keyUsage, [clientAuth]);
  });

  it("never uses a serial number twice", async () => {
    const key = await createAgentKey();
    const serials = Array.from(
      { length: 50 },
      () => new X509Certificate(authority.issueAgent(CONTROLLER_URI, key.publicKey, day)).serialNumber,
    );
    assert.equal(new Set(serials).size, 50);
  });

  it("issues nothing that outlives the CA", async () => {
    const short = openAuthority(await createAuthority({ now, lifetimeMs: 60_000 }));
    const leaf = new X509Certificate((await short.issueClient(CONTROLLER_URI, day)).certificate);
    assert.equal(leaf.validToDate.getTime(), new X509Certificate(short.certificate).validToDate.getTime());
  });

  it("refuses a key that is not the certificate's, without quoting it", async () => {
    const other = await createAuthority(day);
    assert.throws(() => openAuthority({ ...ca, key: other.key }), /do not belong together/);
    assert.throws(
      () => openAuthority({ ...ca, key: "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n" }),
      (error: Error) => error.message === "The CA's key cannot be read." && error.cause === undefined,
    );
  });

  it("satisfies openssl verify, for its purpose only", async function () {
    const folder = mkdtempSync(join(tmpdir(), "squall-certs-"));
    try {
      const file = (name: string, content: string): string => {
        writeFileSync(join(folder, name), content);
        return join(folder, name);
      };
      const key = await createAgentKey();
      const leaf = file("leaf.pem", authority.issueAgent(podUri({ namespace: "shop", uid: "u1" }), key.publicKey, day));
      const root = file("ca.pem", ca.certificate);
      const other = file("other.pem", (await createAuthority(day)).certificate);
      const verify = (...parameters: readonly string[]): string => {
        try {
          return execFileSync("openssl", ["verify", "-x509_strict", ...parameters, leaf], {
            encoding: "utf8",
            stdio: ["ignore", "pipe", "pipe"],
          }).trim();
        } catch (error) {
          if (error instanceof Error && "code" in error && error.code === "ENOENT") this.skip();
          return "refused";
        }
      };
      assert.match(verify("-purpose", "sslserver", "-CAfile", root), /: OK$/);
      assert.equal(verify("-purpose", "sslclient", "-CAfile", root), "refused");
      assert.equal(verify("-CAfile", other), "refused");
      file("both.pem", `${ca.certificate}${(await createAuthority(day)).certificate}`);
      assert.match(verify("-CAfile", join(folder, "both.pem")), /: OK$/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("podUri", () => {
  it("is read back by parsePodUri", () => {
    const pod = { namespace: "shop", uid: "0b9d1c2e-1111-4222-8333-444455556666" };
    assert.deepEqual(parsePodUri(podUri(pod)), pod);
  });

  for (const [namespace, uid] of [
    ["shop/pod/x", "u"],
    ["Shop", "u"],
    ["", "u"],
    ["shop", "u/../v"],
    ["shop", ""],
    ["shop", "u\n"],
    ["shop", "u,DNS:x"],
    ["a".repeat(64), "u"],
  ] as const)
    it(`refuses ${JSON.stringify([namespace.slice(0, 20), uid])}`, () => {
      assert.throws(() => podUri({ namespace, uid }));
    });

  for (const uri of [
    CONTROLLER_URI,
    "spiffe://squall/ns/shop/pod/",
    "spiffe://other/ns/shop/pod/u",
    "spiffe://squall/ns/shop/pod/u/x",
    " spiffe://squall/ns/shop/pod/u",
  ])
    it(`does not take ${uri} for a pod`, () => {
      assert.equal(parsePodUri(uri), undefined);
    });
});

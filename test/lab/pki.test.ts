import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { parse } from "yaml";
import { renderKubeconfig } from "../../lab/kubeconfig.ts";
import { createLabAuthority } from "../../lab/pki.ts";

describe("createLabAuthority", () => {
  it("issues certificates that OpenSSL accepts for the names they carry", async () => {
    const authority = await createLabAuthority("test");
    const leaf = await authority.issue({ commonName: "admin", organization: "system:masters", dns: ["localhost"], ips: ["127.0.0.1"] });
    const certificate = new X509Certificate(leaf.certificate);
    const ca = new X509Certificate(authority.ca.certificate);
    assert.equal(certificate.checkIssued(ca) && certificate.verify(ca.publicKey), true);
    assert.equal(certificate.checkHost("localhost"), "localhost");
    assert.equal(certificate.checkIP("127.0.0.1"), "127.0.0.1");
    assert.match(certificate.subject, /O=system:masters\nCN=admin/);
  });
});

describe("renderKubeconfig", () => {
  it("carries everything inside", () => {
    const text = renderKubeconfig({ server: "https://1.2.3.4:6443", ca: "CA", client: { certificate: "CRT", key: "KEY" } });
    const config = parse(text) as {
      clusters: readonly [{ cluster: Record<string, string> }];
      users: readonly [{ user: Record<string, string> }];
    };
    assert.deepEqual(config.clusters[0].cluster, { server: "https://1.2.3.4:6443", "certificate-authority-data": btoa("CA") });
    assert.deepEqual(config.users[0].user, { "client-certificate-data": btoa("CRT"), "client-key-data": btoa("KEY") });
  });
});

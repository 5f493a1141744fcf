import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { createAgentKey, parseAgentKey, proveKey, verifyProof } from "../../certs/keys.ts";

describe("verifyProof", () => {
  it("accepts what the holder of the key signed for this token", async () => {
    const key = await createAgentKey();
    assert.equal(verifyProof({ token: "t", publicKey: key.publicKey, proof: proveKey(key, "t") }), true);
  });

  it("refuses the proof of another token, of another key, and one that was changed", async () => {
    const key = await createAgentKey();
    const other = await createAgentKey();
    const proof = proveKey(key, "t");
    assert.equal(verifyProof({ token: "u", publicKey: key.publicKey, proof }), false);
    assert.equal(verifyProof({ token: "t", publicKey: other.publicKey, proof }), false);
    const changed = Buffer.from(proof);
    changed.writeUInt8(changed.readUInt8(20) ^ 1, 20);
    assert.equal(verifyProof({ token: "t", publicKey: key.publicKey, proof: changed }), false);
    for (const junk of [Buffer.alloc(0), Buffer.alloc(64), Buffer.from("junk"), Buffer.alloc(100_000, 0x30)])
      assert.equal(verifyProof({ token: "t", publicKey: key.publicKey, proof: junk }), false);
  });

  it("refuses keys of other kinds, and bytes that are no key", () => {
    const rsa = generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey.export({ type: "spki", format: "der" });
    const ed = generateKeyPairSync("ed25519").publicKey.export({ type: "spki", format: "der" });
    const p384 = generateKeyPairSync("ec", { namedCurve: "P-384" }).publicKey.export({ type: "spki", format: "der" });
    const koblitz = generateKeyPairSync("ec", { namedCurve: "secp256k1" }).publicKey.export({ type: "spki", format: "der" });
    for (const key of [rsa, ed, p384, koblitz, Buffer.alloc(0), Buffer.alloc(91), Buffer.alloc(70_000)])
      assert.equal(parseAgentKey(key), undefined);
  });

  it("refuses a P-256 key with bytes after its end", async () => {
    const { publicKey } = await createAgentKey();
    assert.equal(parseAgentKey(Buffer.concat([publicKey, Buffer.from([0])])), undefined);
  });
});

import assert from "node:assert/strict";
import * as fc from "fast-check";
import { fragmentIpv4, internetChecksum, isIpv4, mayFragment } from "../../../../agent/network/engine/ipv4.ts";

const view = (bytes: Buffer): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** A packet as a kernel would build it. */
function packet({ payload = Buffer.alloc(8), options = Buffer.alloc(0), flagsAndOffset = 0, id = 0x1234 } = {}): Buffer {
  const header = Buffer.concat([Buffer.alloc(20), options]);
  header[0] = 0x40 | (header.length / 4);
  header.writeUInt16BE(header.length + payload.length, 2);
  header.writeUInt16BE(id, 4);
  header.writeUInt16BE(flagsAndOffset, 6);
  header[8] = 64;
  header[9] = 17;
  header.set([10, 244, 0, 7, 10, 244, 1, 9], 12);
  header.writeUInt16BE(internetChecksum(header), 10);
  return Buffer.concat([header, payload]);
}

const headerOf = (bytes: Buffer): Buffer => bytes.subarray(0, ((bytes[0] ?? 0) & 15) * 4);

/** What a receiver puts together from fragments in any order (RFC 815, simplified). */
function reassemble(fragments: readonly Buffer[]): { readonly payload: Buffer; readonly more: boolean } {
  const sorted = [...fragments].sort((a, b) => (a.readUInt16BE(6) & 0x1fff) - (b.readUInt16BE(6) & 0x1fff));
  const base = (sorted[0]?.readUInt16BE(6) ?? 0) & 0x1fff;
  let payload = Buffer.alloc(0);
  for (const [i, fragment] of sorted.entries()) {
    assert.equal(((fragment.readUInt16BE(6) & 0x1fff) - base) * 8, payload.length, "a hole or an overlap");
    if (i < sorted.length - 1) assert.ok(fragment.readUInt16BE(6) & 0x2000, "MF is missing in the middle");
    payload = Buffer.concat([payload, fragment.subarray(headerOf(fragment).length)]);
  }
  return { payload, more: ((sorted.at(-1)?.readUInt16BE(6) ?? 0) & 0x2000) !== 0 };
}

describe("fragmentIpv4", () => {
  it("cuts into valid packets of at most the MTU from which the original can be put together", () => {
    const words = fc.integer({ min: 0, max: 10 });
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 8, maxLength: 5000 }),
        fc.integer({ min: 68, max: 1600 }),
        words,
        fc.integer({ min: 0, max: 0xfff }),
        fc.boolean(),
        (content, mtu, optionWords, offset, more) => {
          const payload = Buffer.from(content.subarray(0, content.length & ~7)); // also of a fragment from the middle
          const original = packet({ payload, options: Buffer.alloc(optionWords * 4, 1), flagsAndOffset: offset | (more ? 0x2000 : 0) });
          const fragments = fragmentIpv4(original, mtu);
          for (const fragment of fragments) {
            assert.ok(fragment.length <= mtu);
            assert.ok(isIpv4(view(fragment), 0, fragment.length));
            assert.equal(internetChecksum(headerOf(fragment)), 0);
            assert.equal(fragment.readUInt16BE(4), 0x1234);
            assert.equal(fragment.readUInt32BE(16), 0x0af40109);
          }
          assert.deepEqual(reassemble(fragments), { payload, more });
          assert.equal((fragments[0]?.readUInt16BE(6) ?? 0) & 0x1fff, offset);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("leaves a packet that fits as it is", () => {
    const original = packet();
    assert.deepEqual(fragmentIpv4(original, 28), [original]);
  });

  it("keeps options that are to be copied in every fragment, the others only in the first", () => {
    const options = Buffer.from([0x94, 4, 0, 0, 0x07, 3, 4, 0]); // router alert (copied), record route (not copied), end
    const [first, second] = fragmentIpv4(packet({ options, payload: Buffer.alloc(100) }), 100);
    assert.deepEqual(first?.subarray(20, 28), options);
    assert.deepEqual(second?.subarray(20, 28), Buffer.from([0x94, 4, 0, 0, 1, 1, 1, 0]));
  });

  it("refuses an MTU without room for 8 bytes", () => {
    assert.throws(() => fragmentIpv4(packet({ payload: Buffer.alloc(100) }), 27), RangeError);
  });
});

describe("isIpv4", () => {
  it("wants version 4, a whole header and the length that the header names", () => {
    const good = packet();
    assert.ok(isIpv4(view(good), 0, good.length));
    assert.ok(!isIpv4(view(good), 0, good.length - 1));
    assert.ok(!isIpv4(view(good), 0, 12));
    const other = Buffer.from(good);
    other[0] = 0x60;
    assert.ok(!isIpv4(view(other), 0, other.length));
    other[0] = 0x44;
    assert.ok(!isIpv4(view(other), 0, other.length));
  });
});

describe("mayFragment", () => {
  it("is what the DF bit says", () => {
    assert.ok(mayFragment(view(packet()), 0));
    assert.ok(!mayFragment(view(packet({ flagsAndOffset: 0x4000 })), 0));
  });
});

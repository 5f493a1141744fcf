import assert from "node:assert/strict";
import fc from "fast-check";
import { fragmentIpv6, isIpv6, payloadOfIpv6 } from "../../../../agent/network/engine/ipv6.ts";

/** A UDP packet, with a hop-by-hop header when asked for. */
function packet(payloadBytes: number, { withOptions = false } = {}): Buffer {
  const options = withOptions ? Buffer.from([17, 0, 1, 4, 0, 0, 0, 0]) : Buffer.alloc(0);
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(options.length + payloadBytes, 4);
  header[6] = withOptions ? 0 : 17;
  header[7] = 64;
  return Buffer.concat([header, options, Buffer.from(Array.from({ length: payloadBytes }, (_, index) => index & 255))]);
}
const view = (bytes: Buffer): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

describe("fragmentIpv6", () => {
  for (const withOptions of [false, true]) {
    it(`cuts a packet ${withOptions ? "with options for the way " : ""}so that its parts make it whole again`, () => {
      fc.assert(
        fc.property(fc.integer({ min: 1, max: 65_000 }), fc.integer({ min: 1280, max: 9000 }), (bytes, mtu) => {
          const whole = packet(bytes, { withOptions });
          const fragments = fragmentIpv6(whole, mtu, 77);
          if (whole.length <= mtu) {
            assert.deepEqual(fragments, [whole]);
            return;
          }
          const head = withOptions ? 48 : 40;
          const parts = fragments.map((fragment, index) => {
            assert.ok(fragment.length <= mtu && isIpv6(view(fragment), 0, fragment.length));
            assert.equal(fragment[withOptions ? 40 : 6], 44);
            assert.equal(fragment[head], 17);
            assert.equal(fragment.readUInt32BE(head + 4), 77);
            assert.equal(fragment.readUInt16BE(head + 2) & 1, index < fragments.length - 1 ? 1 : 0);
            return { at: fragment.readUInt16BE(head + 2) & ~7, bytes: fragment.subarray(head + 8) };
          });
          assert.deepEqual(
            parts.map(({ at }) => at),
            parts.map((_, index) => parts.slice(0, index).reduce((sum, part) => sum + part.bytes.length, 0)),
          );
          assert.ok(Buffer.concat(parts.map((part) => part.bytes)).equals(whole.subarray(head)));
        }),
        { numRuns: 60 },
      );
    });
  }

  it("leaves a fragment alone, and refuses an MTU without room", () => {
    const fragment = fragmentIpv6(packet(3000), 1500, 1)[0] ?? assert.fail();
    assert.deepEqual(fragmentIpv6(fragment, 1280, 2), [fragment]);
    assert.throws(() => fragmentIpv6(packet(3000), 50, 1), RangeError);
  });
});

describe("payloadOfIpv6", () => {
  it("is where the headers for the way end, and never beyond the packet", () => {
    assert.equal(payloadOfIpv6(packet(100)), 40);
    assert.equal(payloadOfIpv6(packet(100, { withOptions: true })), 48);
    fc.assert(fc.property(fc.uint8Array({ minLength: 40, maxLength: 100 }), (bytes) => payloadOfIpv6(Buffer.from(bytes)) <= 100));
  });
});

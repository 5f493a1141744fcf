/** IPv4 as far as the engine needs it (RFC 791). */

const MORE_FRAGMENTS = 0x2000;
const DO_NOT_FRAGMENT = 0x4000;
const OFFSET_MASK = 0x1fff;
const NO_OPERATION = 1;
const END_OF_OPTIONS = 0;

/** True for an IPv4 packet whose header says exactly `length` bytes. */
export const isIpv4 = (view: DataView, start: number, length: number): boolean =>
  length >= 20 && view.getUint8(start) >> 4 === 4 && headerLength(view, start) >= 20 && view.getUint16(start + 2) === length;

export const mayFragment = (view: DataView, start: number): boolean => (view.getUint16(start + 6) & DO_NOT_FRAGMENT) === 0;

const headerLength = (view: DataView, start: number): number => (view.getUint8(start) & 15) * 4;

/** Where the bytes after the IP header begin. */
export const payloadOfIpv4 = (packet: Buffer): number => ((packet[0] ?? 0) & 15) * 4;

/**
 * Cuts a packet into fragments of at most `mtu` bytes, each a packet of its own with a right header. A packet that fits
 * comes back alone and unchanged. The packet may be a fragment itself. Does not look at the DF bit: ask `mayFragment`.
 * Throws RangeError when not even 8 bytes beyond the header fit.
 */
export function fragmentIpv4(packet: Buffer, mtu: number): readonly Buffer[] {
  if (packet.length <= mtu) return [packet];
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const header = headerLength(view, 0);
  const room = (mtu - header) & ~7; // offsets count in units of 8 bytes
  if (room < 8) throw new RangeError(`An MTU of ${mtu} has no room for fragments with a header of ${header} bytes.`);
  const flagsAndOffset = view.getUint16(6);
  const fragments: Buffer[] = [];
  for (let at = header; at < packet.length; at += room) {
    const end = Math.min(at + room, packet.length);
    const fragment = Buffer.concat([packet.subarray(0, header), packet.subarray(at, end)]);
    if (at > header) blankUncopiedOptions(fragment, header);
    const more = end < packet.length ? MORE_FRAGMENTS : flagsAndOffset & MORE_FRAGMENTS;
    fragment.writeUInt16BE(fragment.length, 2);
    fragment.writeUInt16BE(((flagsAndOffset & OFFSET_MASK) + (at - header) / 8) | more, 6);
    fragment.writeUInt16BE(0, 10);
    fragment.writeUInt16BE(internetChecksum(fragment.subarray(0, header)), 10);
    fragments.push(fragment);
  }
  return fragments;
}

/** Options without the "copied" bit belong to the first fragment only; the others keep their header length with no-operations. */
function blankUncopiedOptions(fragment: Buffer, header: number): void {
  for (let at = 20; at < header; ) {
    const type = fragment[at] ?? END_OF_OPTIONS;
    if (type === END_OF_OPTIONS) return;
    const size = type === NO_OPERATION ? 1 : Math.max(2, fragment[at + 1] ?? 2);
    if (type < 128) fragment.fill(NO_OPERATION, at, Math.min(at + size, header));
    at += size;
  }
}

/** The ones' complement sum of RFC 1071, over an even number of bytes. */
export function internetChecksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

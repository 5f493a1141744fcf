/** IPv6 as far as the engine needs it (RFC 8200). */

const HEADER_BYTES = 40;
const FRAGMENT_HEADER_BYTES = 8;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const DESTINATION_OPTIONS = 60;

/** True for an IPv6 packet whose header says exactly `length` bytes. */
export const isIpv6 = (view: DataView, start: number, length: number): boolean =>
  length >= HEADER_BYTES && view.getUint8(start) >> 4 === 6 && view.getUint16(start + 4) + HEADER_BYTES === length;

/** Where what may be cut begins, and the byte that names its type: extension headers for every node on the way come first. */
function fragmentablePart(packet: Buffer): { readonly start: number; readonly typeAt: number } {
  let typeAt = 6;
  let start = HEADER_BYTES;
  const lengthOf = (at: number): number => ((packet[at + 1] ?? 0) + 1) * 8;
  for (;;) {
    const type = packet[typeAt];
    const isForTheWay = type === HOP_BY_HOP || type === ROUTING || (type === DESTINATION_OPTIONS && packet[start] === ROUTING);
    if (!isForTheWay || start + 8 > packet.length) return { start, typeAt };
    typeAt = start;
    start += lengthOf(start);
  }
}

/**
 * Cuts a packet into fragments of at most `mtu` bytes, as its sender would. One that fits, or is a fragment already, comes back alone.
 * `identification` is to be another one for each packet. Throws RangeError when not even 8 bytes beyond the headers fit.
 */
export function fragmentIpv6(packet: Buffer, mtu: number, identification: number): readonly Buffer[] {
  const { start, typeAt } = fragmentablePart(packet);
  const type = packet[typeAt] ?? FRAGMENT;
  if (packet.length <= mtu || type === FRAGMENT) return [packet];
  const room = (mtu - start - FRAGMENT_HEADER_BYTES) & ~7;
  if (room < 8) throw new RangeError(`An MTU of ${mtu} has no room for fragments with headers of ${start} bytes.`);
  const fragments: Buffer[] = [];
  for (let at = start; at < packet.length; at += room) {
    const end = Math.min(at + room, packet.length);
    const own = Buffer.alloc(FRAGMENT_HEADER_BYTES);
    own[0] = type;
    own.writeUInt16BE((at - start) | (end < packet.length ? 1 : 0), 2);
    own.writeUInt32BE(identification >>> 0, 4);
    const fragment = Buffer.concat([packet.subarray(0, start), own, packet.subarray(at, end)]);
    fragment[typeAt] = FRAGMENT;
    fragment.writeUInt16BE(fragment.length - HEADER_BYTES, 4);
    fragments.push(fragment);
  }
  return fragments;
}

/** Where the bytes after all IP headers begin that a flipped bit may hit without sending the packet elsewhere. */
export const payloadOfIpv6 = (packet: Buffer): number => Math.min(fragmentablePart(packet).start, packet.length);

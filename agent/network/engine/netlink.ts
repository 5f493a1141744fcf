/**
 * Messages of nfnetlink_queue, as bytes. Headers and attribute headers are in host order (little-endian here), values of
 * attributes and the queue number in network order. Sources: linux/netlink.h, linux/netfilter/nfnetlink_queue.h.
 */

const HEADER_BYTES = 20; // nlmsghdr (16) and nfgenmsg (4)
const ATTRIBUTE_BYTES = 4;
const REQUEST = 1;
const ACK = 4;
const TYPE_ERROR = 2;
const TYPE_PACKET = 0x300;
const TYPE_CONFIG = 0x302;
const TYPE_VERDICT = 0x301;
const TYPE_VERDICT_BATCH = 0x303;

export const verdicts = { drop: 0, accept: 1 } as const;
export type Verdict = (typeof verdicts)[keyof typeof verdicts];

/** NFQA_CFG_F_FAIL_OPEN: what does not fit into the queue passes instead of being dropped. */
const FAIL_OPEN = 1;
/** NFQA_CFG_F_GSO: unset, so that the kernel cuts large packets to the size of the wire and completes their checksums first. */
const GSO = 4;
/** NFQA_CFG_F_UID_GID, CONNTRACK, SECCTX: more attributes, which nobody reads. */
const OTHER_FLAGS = 2 | 8 | 16;
const COPY_PACKET = 2;
const WHOLE_PACKET = 0xffff;

function encodeConfig(queue: number, attributes: readonly (readonly [type: number, value: readonly number[]])[]): Buffer {
  const encoded = attributes.map(([type, value]) => {
    const bytes = Buffer.alloc(align(ATTRIBUTE_BYTES + value.length));
    bytes.writeUInt16LE(ATTRIBUTE_BYTES + value.length, 0);
    bytes.writeUInt16LE(type, 2);
    bytes.set(value, ATTRIBUTE_BYTES);
    return bytes;
  });
  const header = Buffer.alloc(HEADER_BYTES);
  const message = Buffer.concat([header, ...encoded]);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(TYPE_CONFIG, 4);
  message.writeUInt16LE(REQUEST | ACK, 6);
  message.writeUInt16BE(queue, 18);
  return message;
}

const align = (length: number): number => (length + 3) & ~3;
const be32 = (value: number): readonly number[] => [(value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];

/** Binds the queue to the sending socket: whole packets are copied, `maxPackets` wait at most, and the rest passes. */
export const encodeBind = (queue: number, { maxPackets }: { readonly maxPackets: number }): Buffer =>
  encodeConfig(queue, [
    [1, [1, 0, 0, 0]],
    [2, [...be32(WHOLE_PACKET), COPY_PACKET]],
    [3, be32(maxPackets)],
    [4, be32(FAIL_OPEN | GSO | OTHER_FLAGS)],
    [5, be32(FAIL_OPEN)],
  ]);

/** Gives the queue up; packets that still wait in it are dropped by the kernel, later ones bypass it. */
export const encodeUnbind = (queue: number): Buffer => encodeConfig(queue, [[1, [2, 0, 0, 0]]]);

export const VERDICT_BYTES = 32;

/** One verdict for every packet still waiting whose id is `id` or older. Writes VERDICT_BYTES at `offset`. */
export function writeVerdictUpTo(into: DataView, offset: number, queue: number, id: number, verdict: Verdict): void {
  writeVerdict(into, offset, { type: TYPE_VERDICT_BATCH, queue, id, verdict });
}

/** The verdict for one packet. Writes VERDICT_BYTES at `offset`. */
export function writeVerdictFor(into: DataView, offset: number, queue: number, id: number, verdict: Verdict): void {
  writeVerdict(into, offset, { type: TYPE_VERDICT, queue, id, verdict });
}

/** Lets one packet go with other bytes than it had. */
export function encodeChangedPacket(queue: number, id: number, packet: Buffer): Buffer {
  const message = Buffer.alloc(VERDICT_BYTES + align(ATTRIBUTE_BYTES + packet.length));
  writeVerdictFor(new DataView(message.buffer, message.byteOffset, message.length), 0, queue, id, verdicts.accept);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(ATTRIBUTE_BYTES + packet.length, VERDICT_BYTES);
  message.writeUInt16LE(10, VERDICT_BYTES + 2);
  packet.copy(message, VERDICT_BYTES + ATTRIBUTE_BYTES);
  return message;
}

function writeVerdict(
  into: DataView,
  offset: number,
  { type, queue, id, verdict }: { readonly type: number; readonly queue: number; readonly id: number; readonly verdict: Verdict },
): void {
  into.setUint32(offset, VERDICT_BYTES, true);
  into.setUint16(offset + 4, type, true);
  into.setUint16(offset + 6, REQUEST, true);
  into.setUint32(offset + 8, 0);
  into.setUint32(offset + 12, 0);
  into.setUint16(offset + 16, 0);
  into.setUint16(offset + 18, queue);
  into.setUint16(offset + 20, 12, true);
  into.setUint16(offset + 22, 2, true);
  into.setUint32(offset + 24, verdict);
  into.setUint32(offset + 28, id);
}

/** What a received message says. One object is filled again and again: this runs for each packet. */
export interface ReceivedMessage {
  kind: "packet" | "error" | "other";
  /** Of an error: 0 for an acknowledgement, else the positive errno. */
  errno: number;
  /** Number of the queue that the packet is in. */
  queue: number;
  id: number;
  /** Index of the device that the packet is about to leave by; 0 when unknown. */
  outDevice: number;
  /** The packet's mark. */
  mark: number;
  /** Where the packet's bytes begin, from the start of the view, and how many there are. */
  packetStart: number;
  packetLength: number;
  /** The packet's full length, when it is longer than what was copied; else 0. */
  truncatedFrom: number;
}

export const newReceivedMessage = (): ReceivedMessage => ({
  kind: "other",
  errno: 0,
  queue: 0,
  id: 0,
  outDevice: 0,
  mark: 0,
  packetStart: 0,
  packetLength: 0,
  truncatedFrom: 0,
});

/** Reads the message of `length` bytes at `start` into `message`. Never reads beyond them, whatever the bytes say. */
export function readMessage(view: DataView, start: number, length: number, message: ReceivedMessage): void {
  message.kind = "other";
  message.errno = 0;
  if (length < HEADER_BYTES) return;
  const type = view.getUint16(start + 4, true);
  if (type === TYPE_ERROR) {
    message.kind = "error";
    message.errno = -view.getInt32(start + 16, true);
    return;
  }
  if (type !== TYPE_PACKET) return;
  message.queue = view.getUint16(start + 18);
  message.id = 0;
  message.outDevice = 0;
  message.mark = 0;
  message.packetStart = 0;
  message.packetLength = 0;
  message.truncatedFrom = 0;
  const end = start + Math.min(length, view.getUint32(start, true));
  for (let at = start + HEADER_BYTES; at + ATTRIBUTE_BYTES <= end; ) {
    const size = view.getUint16(at, true);
    if (size < ATTRIBUTE_BYTES || at + size > end) return;
    const value = at + ATTRIBUTE_BYTES;
    // the two highest bits of the type are flags
    switch (view.getUint16(at + 2, true) & 0x3fff) {
      case 1:
        message.id = view.getUint32(value);
        message.kind = "packet";
        break;
      case 3:
        message.mark = view.getUint32(value);
        break;
      case 6:
        message.outDevice = view.getUint32(value);
        break;
      case 10:
        message.packetStart = value;
        message.packetLength = size - ATTRIBUTE_BYTES;
        break;
      case 13:
        message.truncatedFrom = view.getUint32(value);
        break;
    }
    at += align(size);
  }
}

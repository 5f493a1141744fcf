import { addressOf, errors, type Libc } from "./libc.ts";
import { destinationOf } from "./packet.ts";
import { writeAddress } from "./receiver.ts";
import type { Schedule } from "./schedule.ts";
import type { Slots } from "./slots.ts";

/** Sends held packets by the raw socket once they are due. */
export interface Sender {
  /** False when the socket is full: call again once it takes more. Slots of sent packets are free again. */
  sendDue(nowMs: number): boolean;
  /** Packets taken from the schedule that the full socket has not taken yet. */
  waiting(): number;
}

export interface SenderCounters {
  sent: number;
  /** Packets that the kernel refused, and the last reason: a rule of somebody else's, a route that is gone. They are lost. */
  refused: number;
  lastErrno: number;
}

const BATCH = 64;
const MMSGHDR_BYTES = 64;
const IOVEC_BYTES = 16;
const SOCKADDR_BYTES = 16;
const CONTROL_BYTES = 24;
const AF_INET = 2;
const SOL_SOCKET = 1;
const SO_MARK = 36;
const MSG_DONTWAIT = 0x40;

export function createSender({
  libc,
  fd,
  mark,
  slots,
  schedule,
  counters,
}: {
  readonly libc: Libc;
  readonly fd: number;
  /** Bits that our copies carry; the packet's other bits stay. */
  readonly mark: { readonly value: number; readonly mask: number };
  readonly slots: Slots;
  readonly schedule: Schedule;
  readonly counters: SenderCounters;
}): Sender {
  const headers = Buffer.alloc(BATCH * MMSGHDR_BYTES);
  const vectors = Buffer.alloc(BATCH * IOVEC_BYTES);
  const names = Buffer.alloc(BATCH * SOCKADDR_BYTES);
  const controls = Buffer.alloc(BATCH * CONTROL_BYTES);
  const headerView = new DataView(headers.buffer, headers.byteOffset, headers.length);
  const vectorView = new DataView(vectors.buffer, vectors.byteOffset, vectors.length);
  const nameView = new DataView(names.buffer, names.byteOffset, names.length);
  const controlView = new DataView(controls.buffer, controls.byteOffset, controls.length);
  const headersAddress = addressOf(headers);
  const filled = new Int32Array(BATCH);
  let count = 0;
  for (let i = 0; i < BATCH; i++) {
    names.writeUInt16LE(AF_INET, i * SOCKADDR_BYTES);
    headers.writeBigUInt64LE(addressOf(names) + BigInt(i * SOCKADDR_BYTES), i * MMSGHDR_BYTES);
    headers.writeUInt32LE(SOCKADDR_BYTES, i * MMSGHDR_BYTES + 8);
    headers.writeBigUInt64LE(addressOf(vectors) + BigInt(i * IOVEC_BYTES), i * MMSGHDR_BYTES + 16);
    headers.writeBigUInt64LE(1n, i * MMSGHDR_BYTES + 24);
    headers.writeBigUInt64LE(addressOf(controls) + BigInt(i * CONTROL_BYTES), i * MMSGHDR_BYTES + 32);
    controls.writeUInt32LE(20, i * CONTROL_BYTES); // cmsg_len: header 16, value 4
    controls.writeUInt32LE(SOL_SOCKET, i * CONTROL_BYTES + 8);
    controls.writeUInt32LE(SO_MARK, i * CONTROL_BYTES + 12);
  }

  function fill(i: number, slot: number): void {
    filled[i] = slot;
    const start = slots.packetStart(slot);
    writeAddress(vectorView, i * IOVEC_BYTES, slots.addressOf(slot) - slots.startOf(slot) + start);
    vectorView.setUint32(i * IOVEC_BYTES + 8, slots.packetLength(slot), true);
    nameView.setUint32(i * SOCKADDR_BYTES + 4, destinationOf(slots.viewOf(slot), start));
    // policy routing may go by the other bits of the mark; without any, the socket's own mark serves
    const others = slots.packetMark(slot) & ~mark.mask;
    headerView.setUint32(i * MMSGHDR_BYTES + 40, others === 0 ? 0 : CONTROL_BYTES, true);
    if (others !== 0) controlView.setUint32(i * CONTROL_BYTES + 16, (others | mark.value) >>> 0, true);
  }

  return {
    waiting: () => count,
    sendDue(nowMs) {
      for (;;) {
        while (count < BATCH) {
          const slot = schedule.pop(nowMs);
          if (slot < 0) break;
          fill(count++, slot);
        }
        if (count === 0) return true;
        let done = libc.sendmmsg(fd, headersAddress, count, MSG_DONTWAIT);
        if (done < 0) {
          const errno = libc.errno();
          if (errno === errors.EAGAIN) return false;
          if (errno === errors.EINTR) continue;
          // the error is the first packet's; those behind it still go
          counters.refused++;
          counters.lastErrno = errno;
          done = 1;
        } else counters.sent += done;
        for (let i = 0; i < done; i++) slots.give(filled[i] ?? -1);
        for (let i = done; i < count; i++) fill(i - done, filled[i] ?? -1);
        count -= done;
      }
    },
  };
}

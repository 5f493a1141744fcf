import { addressOf, errors, type Libc } from "./libc.ts";
import { writeAddress } from "./receiver.ts";
import type { Schedule } from "./schedule.ts";
import type { Slots } from "./slots.ts";
import { verdicts } from "./netlink.ts";
import type { VerdictWriter } from "./verdict-writer.ts";

/** Lets held packets go once they are due: copies by raw sockets, those that wait in the kernel by a verdict. */
export interface Sender {
  /** False when a socket is full: call again once it takes more. Slots of sent packets are free again. */
  sendDue(nowMs: number): boolean;
  /** Packets taken from the schedule that a full socket has not taken yet, for each socket. */
  waiting(): { readonly v4: number; readonly v6: number };
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
const SOCKADDR_BYTES = 28;
const CONTROL_BYTES = 24;
const AF_INET = 2;
const AF_INET6 = 10;
const SOL_SOCKET = 1;
const SO_MARK = 36;
const MSG_DONTWAIT = 0x40;

export interface SenderParts {
  readonly libc: Libc;
  /** Raw sockets; -1 for a family that is not there. */
  readonly fd4: number;
  readonly fd6: number;
  /** Bits that our copies carry; the packet's other bits stay. */
  readonly mark: { readonly value: number; readonly mask: number };
  readonly slots: Slots;
  readonly schedule: Schedule;
  readonly counters: SenderCounters;
  readonly verdictWriter: VerdictWriter;
}

export function createSender({ libc, fd4, fd6, mark, slots, schedule, counters, verdictWriter }: SenderParts): Sender {
  const v4 = createBatch({ libc, fd: fd4, family: AF_INET, mark, slots, counters });
  const v6 = createBatch({ libc, fd: fd6, family: AF_INET6, mark, slots, counters });

  function letGo(slot: number): void {
    const start = slots.packetStart(slot);
    const length = slots.packetLength(slot);
    if (length === 0) verdictWriter.addOne(slots.heldQueue(slot), slots.heldId(slot), verdicts.accept);
    else verdictWriter.addChanged(slots.heldQueue(slot), slots.heldId(slot), slots.memoryOf(slot).subarray(start, start + length));
    slots.give(slot);
    counters.sent++;
  }

  return {
    waiting: () => ({ v4: v4.size(), v6: v6.size() }),
    sendDue(nowMs) {
      for (;;) {
        while (!v4.isFull() && !v6.isFull()) {
          const slot = schedule.pop(nowMs);
          if (slot < 0) break;
          if (slots.heldQueue(slot) !== 0) letGo(slot);
          else (slots.viewOf(slot).getUint8(slots.packetStart(slot)) >> 4 === 6 ? v6 : v4).add(slot);
        }
        verdictWriter.flush();
        if (v4.size() + v6.size() === 0) return true;
        const hasRoom4 = v4.send();
        const hasRoom6 = v6.send();
        if (!hasRoom4 || !hasRoom6) return false;
      }
    },
  };
}

/** Packets of one family on their way into its socket. */
interface Batch {
  size(): number;
  isFull(): boolean;
  add(slot: number): void;
  /** Sends what it can; false when the socket is full. */
  send(): boolean;
}

function createBatch({
  libc,
  fd,
  family,
  mark,
  slots,
  counters,
}: Pick<SenderParts, "libc" | "mark" | "slots" | "counters"> & {
  readonly fd: number;
  readonly family: typeof AF_INET | typeof AF_INET6;
}): Batch {
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
    names.writeUInt16LE(family, i * SOCKADDR_BYTES);
    headers.writeBigUInt64LE(addressOf(names) + BigInt(i * SOCKADDR_BYTES), i * MMSGHDR_BYTES);
    headers.writeUInt32LE(family === AF_INET ? 16 : SOCKADDR_BYTES, i * MMSGHDR_BYTES + 8);
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
    writeDestination(i, slot, start);
    // policy routing may go by the other bits of the mark; without any, the socket's own mark serves
    const others = slots.packetMark(slot) & ~mark.mask;
    headerView.setUint32(i * MMSGHDR_BYTES + 40, others === 0 ? 0 : CONTROL_BYTES, true);
    if (others !== 0) controlView.setUint32(i * CONTROL_BYTES + 16, (others | mark.value) >>> 0, true);
  }

  function writeDestination(i: number, slot: number, start: number): void {
    const view = slots.viewOf(slot);
    const at = i * SOCKADDR_BYTES;
    if (family === AF_INET) {
      nameView.setUint32(at + 4, view.getUint32(start + 16));
      return;
    }
    for (let word = 0; word < 16; word += 4) nameView.setUint32(at + 8 + word, view.getUint32(start + 24 + word));
    // a link-local address says nothing without its link
    const isLinkLocal = (view.getUint16(start + 24) & 0xffc0) === 0xfe80;
    nameView.setUint32(at + 24, isLinkLocal ? slots.packetDevice(slot) : 0, true);
  }

  return {
    size: () => count,
    isFull: () => count === BATCH,
    add: (slot) => fill(count++, slot),
    send() {
      while (count > 0) {
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
      return true;
    },
  };
}

import { addressOf, errors, failure, type Libc } from "./libc.ts";
import type { Slots } from "./slots.ts";

/** Reads messages from the queue in batches, each into a slot of its own, so that a packet can stay where it was read to. */
export interface Receiver {
  /** How many messages came, up to the batch size; 0 when none waits. Message `i` of them has `length(i)` bytes. */
  receive(): number;
  length(i: number): number;
  slot(i: number): number;
  /** True when the message did not fit into its slot and goes on in the spill. */
  isSpilled(i: number): boolean;
  /** Copies the whole message, slot and spill, to `start` of `into`. */
  copy(i: number, into: Buffer, start: number): void;
  /** Gives the caller the slot of message `i`, with what is in it; `replacement` takes its place. */
  exchangeSlot(i: number, replacement: number): void;
  /** Gives all slots back; the next `receive` takes new ones. */
  release(): void;
}

const BATCH = 64;
/** Fits a packet of 1,500 bytes with its message; larger ones go on in the spill and are copied. */
export const RECEIVE_SLOT_BYTES = 2048;
const SPILL_BYTES = 66_560;
const MMSGHDR_BYTES = 64;
const IOVEC_BYTES = 16;
const MSG_DONTWAIT = 0x40;

export function createReceiver(libc: Libc, fd: number, slots: Slots): Receiver {
  const headers = Buffer.alloc(BATCH * MMSGHDR_BYTES);
  const vectors = Buffer.alloc(BATCH * 2 * IOVEC_BYTES);
  const spill = Buffer.allocUnsafeSlow(BATCH * SPILL_BYTES); // not cleared: pages are touched only by messages that need them
  const headerView = new DataView(headers.buffer, headers.byteOffset, headers.length);
  const vectorView = new DataView(vectors.buffer, vectors.byteOffset, vectors.length);
  const headersAddress = addressOf(headers);
  const vectorsAddress = addressOf(vectors);
  const posted = new Int32Array(BATCH).fill(-1);
  for (let i = 0; i < BATCH; i++) {
    headers.writeBigUInt64LE(vectorsAddress + BigInt(i * 2 * IOVEC_BYTES), i * MMSGHDR_BYTES + 16);
    headers.writeBigUInt64LE(2n, i * MMSGHDR_BYTES + 24);
    vectors.writeBigUInt64LE(BigInt(RECEIVE_SLOT_BYTES), i * 2 * IOVEC_BYTES + 8);
    vectors.writeBigUInt64LE(addressOf(spill) + BigInt(i * SPILL_BYTES), i * 2 * IOVEC_BYTES + 16);
    vectors.writeBigUInt64LE(BigInt(SPILL_BYTES), i * 2 * IOVEC_BYTES + 24);
  }

  function post(i: number, slot: number): void {
    posted[i] = slot;
    writeAddress(vectorView, i * 2 * IOVEC_BYTES, slots.addressOf(slot));
  }

  function postAll(): void {
    for (let i = 0; i < BATCH; i++) {
      const slot = slots.take(RECEIVE_SLOT_BYTES);
      if (slot < 0) throw new Error("The bound of packet memory leaves no room to receive.");
      post(i, slot);
    }
  }

  const length = (i: number): number => headerView.getUint32(i * MMSGHDR_BYTES + 56, true);
  const slot = (i: number): number => posted[i] ?? -1;

  return {
    length,
    slot,
    receive() {
      if (slot(0) < 0) postAll();
      const count = libc.recvmmsg(fd, headersAddress, BATCH, MSG_DONTWAIT, 0n);
      if (count >= 0) return count;
      const errno = libc.errno();
      if (errno === errors.EAGAIN || errno === errors.EINTR || errno === errors.ENOBUFS) return 0;
      throw failure(libc, "Reading from the queue");
    },
    isSpilled: (i) => length(i) > RECEIVE_SLOT_BYTES,
    copy(i, into, start) {
      const from = slots.startOf(slot(i));
      const inSlot = Math.min(length(i), RECEIVE_SLOT_BYTES);
      slots.memoryOf(slot(i)).copy(into, start, from, from + inSlot);
      spill.copy(into, start + inSlot, i * SPILL_BYTES, i * SPILL_BYTES + length(i) - inSlot);
    },
    exchangeSlot: post,
    release() {
      for (const taken of posted) if (taken >= 0) slots.give(taken);
      posted.fill(-1);
    },
  };
}

/** A 64-bit address from a number, without the cost of a BigInt. */
export function writeAddress(view: DataView, at: number, address: number): void {
  view.setUint32(at, address % 4_294_967_296, true);
  view.setUint32(at + 4, Math.floor(address / 4_294_967_296), true);
}

import { closeSync } from "node:fs";
import koffi from "koffi";

/**
 * Open files that travel between processes over a UNIX socket, see unix(7), SCM_RIGHTS. Layouts (`msghdr`, `cmsghdr`, `iovec`, `ucred`) are those
 * of 64-bit little-endian Linux.
 */

/** An open file that somebody here must close. Closing it twice closes it once: its number may be another file's by then. */
export class Descriptor {
  readonly number: number;
  #isOpen = true;

  constructor(number: number) {
    this.number = number;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    closeSync(this.number);
  }
}

export const closeAll = (descriptors: Iterable<Descriptor>): void => {
  for (const descriptor of descriptors) descriptor.close();
};

export interface Received {
  /** None at the end of the stream. */
  readonly bytes: Buffer;
  /** The caller's to close. */
  readonly descriptors: readonly Descriptor[];
}

/** Who listens on, or connected, the other end: as of that moment. */
export interface Peer {
  /** 0 for a process of a pid namespace that is not to be seen from here. */
  readonly pid: number;
  readonly uid: number;
}

/** Sockets that Node cannot give: descriptors come and go with their bytes. Nothing here waits. */
export interface DescriptorSockets {
  /** Sends bytes and, with the first of them, descriptors, which stay open here. Returns how many bytes went, 0 while there is no room. */
  send(socket: number, bytes: Buffer, descriptors: readonly Descriptor[]): number;
  /** What has arrived, up to 64 KiB; undefined while nothing has. Descriptors are closed on exec. */
  receive(socket: number): Received | undefined;
  /** Connects to a socket by its path, which must be short (107 bytes). Node has no such descriptor yet: it is non-blocking. */
  connect(path: string): Descriptor;
  peerOf(socket: number): Peer;
  /** Two ends of a stream. */
  pair(): readonly [Descriptor, Descriptor];
}

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SCM_RIGHTS = 1;
const MSG_CTRUNC = 0x8;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const MESSAGE = { bytes: 56, vectorAt: 16, vectorsAt: 24, controlAt: 32, controlBytesAt: 40, flagsAt: 48 } as const;
const CONTROL_HEADER_BYTES = 16;
/** The kernel's own limit for one message. */
const MOST_DESCRIPTORS = 253;
const MOST_BYTES = 64 * 1024;
const LONGEST_PATH_BYTES = 107;

/** Binds the functions from the C library that this process already runs on. */
export function openDescriptorSockets(): DescriptorSockets {
  const library = koffi.load(null);
  // ssize_t is unknown to koffi
  const sendmsg: (socket: number, message: Buffer, flags: number) => number = library.func("intptr_t sendmsg(int, const void*, int)");
  const recvmsg: (socket: number, message: Buffer, flags: number) => number = library.func("intptr_t recvmsg(int, void*, int)");
  const socket: (family: number, type: number, protocol: number) => number = library.func("int socket(int, int, int)");
  const connect: (socket: number, address: Buffer, bytes: number) => number = library.func("int connect(int, const void*, uint32_t)");
  const socketpair: (family: number, type: number, protocol: number, ends: Buffer) => number = library.func(
    "int socketpair(int, int, int, void*)",
  );
  const getsockopt: (socket: number, level: number, name: number, value: Buffer, bytes: Buffer) => number = library.func(
    "int getsockopt(int, int, int, void*, void*)",
  );
  const { EAGAIN, EINTR } = koffi.os.errno;
  /** Whether the last call is to be made again when there is room or something to read. */
  const isEarly = (): boolean => koffi.errno() === EAGAIN || koffi.errno() === EINTR;

  return {
    send(to, bytes, descriptors) {
      if (descriptors.length > MOST_DESCRIPTORS) throw new Error(`${descriptors.length} descriptors do not fit into one message.`);
      const message = createMessage(bytes, encodeControl(descriptors));
      const sent = sendmsg(to, message.header, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent >= 0) return sent;
      if (isEarly()) return 0;
      throw socketError("Sending to a socket");
    },
    receive(from) {
      const bytes = Buffer.alloc(MOST_BYTES);
      const control = Buffer.alloc(CONTROL_HEADER_BYTES + 4 * (MOST_DESCRIPTORS + 1));
      const { header } = createMessage(bytes, control);
      const count = recvmsg(from, header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
      if (count < 0) {
        if (isEarly()) return undefined;
        throw socketError("Receiving from a socket");
      }
      const used = Number(header.readBigUInt64LE(MESSAGE.controlBytesAt));
      const descriptors = decodeControl(control.subarray(0, used)).map((number) => new Descriptor(number));
      if ((header.readInt32LE(MESSAGE.flagsAt) & MSG_CTRUNC) !== 0) {
        closeAll(descriptors);
        throw new Error("Descriptors were lost on their way: this process may not have as many files open.");
      }
      return { bytes: bytes.subarray(0, count), descriptors };
    },
    connect(path) {
      const name = Buffer.from(path);
      if (name.length > LONGEST_PATH_BYTES) throw new Error(`${path} is too long for the address of a socket.`);
      const address = Buffer.alloc(2 + name.length + 1);
      address.writeUInt16LE(AF_UNIX, 0);
      name.copy(address, 2);
      const number = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (number < 0) throw socketError("Opening a socket");
      const opened = new Descriptor(number);
      if (connect(number, address, address.length) === 0) return opened;
      const error = socketError(`Connecting to ${path}`);
      opened.close();
      throw error;
    },
    peerOf(of) {
      const credentials = Buffer.alloc(12);
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32LE(credentials.length);
      if (getsockopt(of, SOL_SOCKET, SO_PEERCRED, credentials, bytes) !== 0) throw socketError("Asking for the peer of a socket");
      return { pid: credentials.readInt32LE(0), uid: credentials.readUInt32LE(4) };
    },
    pair() {
      const ends = Buffer.alloc(8);
      if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) !== 0) throw socketError("Opening a pair of sockets");
      return [new Descriptor(ends.readInt32LE(0)), new Descriptor(ends.readInt32LE(4))];
    },
  };
}

/** A `msghdr` and what it points to, which must live as long as the call. */
function createMessage(bytes: Buffer, control: Buffer): { readonly header: Buffer; readonly pointedTo: readonly Buffer[] } {
  const header = Buffer.alloc(MESSAGE.bytes);
  const vector = Buffer.alloc(16);
  vector.writeBigUInt64LE(koffi.address(bytes), 0);
  vector.writeBigUInt64LE(BigInt(bytes.length), 8);
  header.writeBigUInt64LE(koffi.address(vector), MESSAGE.vectorAt);
  header.writeBigUInt64LE(1n, MESSAGE.vectorsAt);
  if (control.length > 0) header.writeBigUInt64LE(koffi.address(control), MESSAGE.controlAt);
  header.writeBigUInt64LE(BigInt(control.length), MESSAGE.controlBytesAt);
  return { header, pointedTo: [bytes, control, vector] };
}

function encodeControl(descriptors: readonly Descriptor[]): Buffer {
  if (descriptors.length === 0) return Buffer.alloc(0);
  const bytes = CONTROL_HEADER_BYTES + 4 * descriptors.length;
  const control = Buffer.alloc((bytes + 7) & ~7);
  control.writeBigUInt64LE(BigInt(bytes), 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  for (const [index, { number }] of descriptors.entries()) control.writeInt32LE(number, CONTROL_HEADER_BYTES + 4 * index);
  return control;
}

/** The numbers in all messages of rights that there are. */
function decodeControl(control: Buffer): readonly number[] {
  const numbers: number[] = [];
  for (let at = 0; at + CONTROL_HEADER_BYTES <= control.length; ) {
    const bytes = Number(control.readBigUInt64LE(at));
    if (bytes < CONTROL_HEADER_BYTES) break;
    const end = Math.min(at + bytes, control.length);
    if (control.readInt32LE(at + 8) === SOL_SOCKET && control.readInt32LE(at + 12) === SCM_RIGHTS)
      for (let number = at + CONTROL_HEADER_BYTES; number + 4 <= end; number += 4) numbers.push(control.readInt32LE(number));
    at += (bytes + 7) & ~7;
  }
  return numbers;
}

function socketError(what: string): Error & { readonly code: string } {
  const errno = koffi.errno();
  const code = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
  return Object.assign(new Error(`${what} failed: ${code}`), { code });
}

import { readFileSync } from "node:fs";
import { errors, failure, type Libc } from "./libc.ts";
import { encodeBind, encodeUnbind } from "./netlink.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const NETLINK_NETFILTER = 12;
const IPPROTO_RAW = 255;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_MARK = 36;
const SOL_NETLINK = 270;
const NETLINK_NO_ENOBUFS = 5;
const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;
const SIOCGIFNAME = 0x8910;
const SIOCGIFMTU = 0x8921;

/** Room for some 3,000 full packets between kernel and engine; what does not fit passes undelayed (FAIL_OPEN). */
const RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;
const SEND_BUFFER_BYTES = 8 * 1024 * 1024;
/**
 * What waits here is charged to the socket that sent it. When this process hangs, a socket stalls once its send buffer is
 * full, and FAIL_OPEN helps only from this many packets on: so no more than a short hiccup of this process needs.
 */
const MOST_LEAVING_PACKETS = 4096;
/** Packets that arrive are charged to nobody here, and wait in the queue for as long as they are delayed. */
const MOST_ARRIVING_PACKETS = 100_000;

/** A netlink socket to which queues of this network namespace can be bound. */
export function openQueueSocket(libc: Libc): number {
  const fd = libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  if (fd < 0) throw failure(libc, "Opening a netlink socket");
  try {
    const address = Buffer.alloc(12);
    address.writeUInt16LE(AF_NETLINK, 0);
    if (libc.bind(fd, address, address.length) < 0) throw failure(libc, "Binding a netlink socket");
    setBuffer(libc, fd, SO_RCVBUFFORCE, SO_RCVBUF, RECEIVE_BUFFER_BYTES);
    // an overrun must not become an error of the next read: FAIL_OPEN has let those packets pass
    setOption(libc, fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/** Sends a configuration message and returns the kernel's answer, 0 or an errno, which comes between packets. */
export type Configure = (message: Buffer) => number;

/** Binds a queue. Throws when another process has it, and when the process may not (NET_ADMIN). */
export function bindQueue(configure: Configure, queue: number, at: "egress" | "ingress"): void {
  const errno = configure(encodeBind(queue, { maxPackets: at === "egress" ? MOST_LEAVING_PACKETS : MOST_ARRIVING_PACKETS }));
  if (errno !== 0) throw new Error(explainRefusedBind(queue, errno));
}

/** Gives a queue up. Packets that still wait in it are dropped by the kernel. */
export function unbindQueue(configure: Configure, queue: number): void {
  const errno = configure(encodeUnbind(queue));
  if (errno !== 0) throw new Error(`Unbinding queue ${queue} failed: errno ${errno}`);
}

function explainRefusedBind(queue: number, errno: number): string {
  const owner = ownerOf(queue);
  if (owner !== undefined && (errno === errors.EPERM || errno === errors.EBUSY))
    return `NFQUEUE ${queue} is already bound in this network namespace, by netlink port ${owner}. Two engines cannot share a queue.`;
  if (errno === errors.EPERM) return `Binding NFQUEUE ${queue} was refused: EPERM. The capability NET_ADMIN is needed.`;
  return `Binding NFQUEUE ${queue} was refused: errno ${errno}. Does the kernel have nfnetlink_queue?`;
}

/** The netlink port (usually the pid) that has a queue, from the first two columns of the kernel's table. */
function ownerOf(queue: number): number | undefined {
  try {
    const rows = readFileSync("/proc/net/netfilter/nfnetlink_queue", "utf8")
      .split("\n")
      .map((line) => line.trim().split(/\s+/).map(Number));
    return rows.find(([number]) => number === queue)?.[1];
  } catch {
    return undefined; // only makes the message better; a kernel without the module has no such file
  }
}

/** A socket that sends whole packets as they are, with a mark by which our own rules let them pass. Needs NET_RAW. */
export function openRawSocket(libc: Libc, family: "ipv4" | "ipv6", mark: number): number {
  const fd = libc.socket(family === "ipv4" ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
  if (fd < 0) throw failure(libc, "Opening a raw socket (needs the capability NET_RAW)");
  try {
    setOption(libc, fd, SOL_SOCKET, SO_MARK, mark);
    setBuffer(libc, fd, SO_SNDBUFFORCE, SO_SNDBUF, SEND_BUFFER_BYTES);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

function setOption(libc: Libc, fd: number, level: number, option: number, value: number): void {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0, 0);
  if (libc.setsockopt(fd, level, option, bytes, 4) < 0) throw failure(libc, `setsockopt(${level}, ${option})`);
}

/** Beyond the system's limit where we may, up to it where not (a pod in a user namespace of its own). */
function setBuffer(libc: Libc, fd: number, force: number, plain: number, bytes: number): void {
  try {
    setOption(libc, fd, SOL_SOCKET, force, bytes);
  } catch (error) {
    if (libc.errno() !== errors.EPERM) throw error;
    setOption(libc, fd, SOL_SOCKET, plain, bytes);
  }
}

const MTU_KEPT_MS = 1000;

/** A socket for questions about network devices. */
export function openAskSocket(libc: Libc): number {
  const fd = libc.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw failure(libc, "Opening a socket");
  return fd;
}

/** An eventfd: 8 bytes written to it end the engine's sleep. */
export function openWakeFd(libc: Libc): number {
  const fd = libc.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) throw failure(libc, "Opening an eventfd");
  return fd;
}

/** Tells the MTU of network devices by index, at most a second old. 0 for a device that is gone. */
export function createMtuReader(libc: Libc, askFd: number): (device: number, nowMs: number) => number {
  const known = new Map<number, { readonly mtu: number; readonly untilMs: number }>();
  const ifreq = Buffer.alloc(40); // name (16 bytes), then index or MTU
  const read = (device: number): number => {
    ifreq.fill(0);
    ifreq.writeInt32LE(device, 16);
    if (libc.ioctl(askFd, SIOCGIFNAME, ifreq) < 0) return 0;
    ifreq.writeInt32LE(0, 16);
    return libc.ioctl(askFd, SIOCGIFMTU, ifreq) < 0 ? 0 : ifreq.readInt32LE(16);
  };
  return (device, nowMs) => {
    const found = known.get(device);
    if (found !== undefined && found.untilMs > nowMs) return found.mtu;
    const mtu = read(device);
    known.set(device, { mtu, untilMs: nowMs + MTU_KEPT_MS });
    return mtu;
  };
}

import koffi from "koffi";

/**
 * The few functions of the C library that Node does not offer. Pointers are buffers, or for calls per packet their addresses,
 * computed once by `addressOf`; 0n is NULL. Results are as in C: negative for failure, the reason in `errno()`.
 *
 * Constants and structure layouts (`msghdr`, `mmsghdr`, `iovec`, `pollfd`, `timespec`) are those of 64-bit little-endian
 * Linux; x86_64 and aarch64 agree on all that is used here.
 */
export interface Libc {
  socket(family: number, type: number, protocol: number): number;
  bind(fd: number, address: Pointer, length: number): number;
  setsockopt(fd: number, level: number, option: number, value: Pointer, length: number): number;
  send(fd: number, data: Pointer, length: number, flags: number): number;
  recv(fd: number, data: Pointer, length: number, flags: number): number;
  read(fd: number, data: Pointer, length: number): number;
  recvmmsg(fd: number, messages: bigint, count: number, flags: number, timeout: bigint): number;
  sendmmsg(fd: number, messages: bigint, count: number, flags: number): number;
  ppoll(descriptors: bigint, count: number, timeout: bigint, signals: bigint): number;
  eventfd(initial: number, flags: number): number;
  ioctl(fd: number, request: number, argument: Pointer): number;
  close(fd: number): number;
  setpriority(which: number, who: number, priority: number): number;
  prctl(option: number, a: number, b: number, c: number, d: number): number;
  /** Reason of the last failure on this thread. */
  errno(): number;
}

export type Pointer = Buffer | bigint;

export const errors = { EPERM: 1, EINTR: 4, EAGAIN: 11, EBUSY: 16, ENODEV: 19, ENOBUFS: 105, EMSGSIZE: 90, EAFNOSUPPORT: 97 } as const;

/** Binds the functions from the C library that this process already runs on, so that glibc and musl both do. */
export function openLibc(): Libc {
  const library = koffi.load(null);
  return {
    socket: library.func("int socket(int, int, int)"),
    bind: library.func("int bind(int, const void*, uint32_t)"),
    setsockopt: library.func("int setsockopt(int, int, int, const void*, uint32_t)"),
    // ssize_t is unknown to koffi
    send: library.func("intptr_t send(int, const void*, size_t, int)"),
    recv: library.func("intptr_t recv(int, void*, size_t, int)"),
    read: library.func("intptr_t read(int, void*, size_t)"),
    recvmmsg: library.func("int recvmmsg(int, void*, uint32_t, int, void*)"),
    sendmmsg: library.func("int sendmmsg(int, void*, uint32_t, int)"),
    ppoll: library.func("int ppoll(void*, uint64_t, const void*, const void*)"),
    eventfd: library.func("int eventfd(uint32_t, int)"),
    ioctl: library.func("int ioctl(int, uint64_t, void*)"),
    close: library.func("int close(int)"),
    setpriority: library.func("int setpriority(int, uint32_t, int)"),
    prctl: library.func("int prctl(int, uint64_t, uint64_t, uint64_t, uint64_t)"),
    errno: () => koffi.errno(),
  };
}

/**
 * Where a buffer's bytes are; they never move. The address does not keep them alive: whoever uses it must still refer to the
 * buffer (or a view of it), or the kernel writes into memory that belongs to somebody else by then.
 */
export const addressOf = (buffer: Buffer): bigint => koffi.address(buffer);

/** A failed call as an error: what was tried, the errno by name. */
export function failure(libc: Libc, what: string): Error & { readonly errno: number } {
  const errno = libc.errno();
  const name = Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0] ?? "unknown errno";
  return Object.assign(new Error(`${what} failed: ${name} (${errno})`), { errno });
}

import koffi from "koffi";

/**
 * System calls on files that Node does not offer, or not to the nanosecond, the byte or the flag. A pointer is the address of a buffer's bytes,
 * computed once by `addressOf`; 0n is NULL. Results are as in C: negative for failure, the reason in `errno()`. Constants and structure layouts
 * are those of 64-bit little-endian Linux with generic flag values: x86_64.
 */
export interface Libc {
  read(fd: number, data: bigint, length: number): number;
  write(fd: number, data: bigint, length: number): number;
  pread(fd: number, data: bigint, length: number, position: number): number;
  pwrite(fd: number, data: bigint, length: number, position: number): number;
  openat(folder: number, path: bigint, flags: number, mode: number): number;
  close(fd: number): number;
  dup(fd: number): number;
  statx(folder: number, path: bigint, flags: number, mask: number, result: bigint): number;
  fstatfs(fd: number, result: bigint): number;
  fchmod(fd: number, mode: number): number;
  fchmodat(folder: number, path: bigint, mode: number, flags: number): number;
  fchownat(folder: number, path: bigint, uid: number, gid: number, flags: number): number;
  ftruncate(fd: number, length: number): number;
  utimensat(folder: number, path: bigint, times: bigint, flags: number): number;
  readlinkat(folder: number, path: bigint, result: bigint, size: number): number;
  mknodat(folder: number, path: bigint, mode: number, device: number): number;
  mkdirat(folder: number, path: bigint, mode: number): number;
  symlinkat(target: bigint, folder: number, path: bigint): number;
  linkat(folder: number, path: bigint, newFolder: number, newPath: bigint, flags: number): number;
  unlinkat(folder: number, path: bigint, flags: number): number;
  renameat2(folder: number, path: bigint, newFolder: number, newPath: bigint, flags: number): number;
  getdents64(fd: number, result: bigint, size: number): number;
  lseek(fd: number, position: number | bigint, whence: number): number;
  fsync(fd: number): number;
  fdatasync(fd: number): number;
  fallocate(fd: number, mode: number, position: number, length: number): number;
  copy_file_range(from: number, fromPosition: bigint, to: number, toPosition: bigint, length: number, flags: number): number;
  lsetxattr(path: bigint, name: bigint, value: bigint, size: number, flags: number): number;
  lgetxattr(path: bigint, name: bigint, value: bigint, size: number): number;
  llistxattr(path: bigint, list: bigint, size: number): number;
  lremovexattr(path: bigint, name: bigint): number;
  setxattr(path: bigint, name: bigint, value: bigint, size: number, flags: number): number;
  getxattr(path: bigint, name: bigint, value: bigint, size: number): number;
  listxattr(path: bigint, list: bigint, size: number): number;
  removexattr(path: bigint, name: bigint): number;
  ioctl(fd: number, command: number, argument: bigint): number;
  eventfd(initial: number, flags: number): number;
  poll(descriptors: bigint, count: number, timeoutMs: number): number;
  /**
   * The first bytes of a file as memory of this process, shared with whoever maps or writes them. All of it is there at once, and stays where the limit of
   * locked memory allows it (some nodes swap): the kernel, which puts requests there, fetches no page for a process that is being killed, and whoever asked
   * would be told EIO. It stays mapped. Throws where it cannot be.
   */
  mapShared(fd: number, bytes: number): Buffer;
  /** Of a page of memory; arm64 has kernels with 65,536. */
  readonly pageBytes: number;
  /** Reason of the last failure on this thread. */
  errno(): number;
}

const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_LOCKED = 0x2000;
const MAP_POPULATE = 0x8000;

/** Binds the functions from the C library that this process already runs on. */
export function openLibc(): Libc {
  const library = koffi.load(null);
  // ssize_t and off_t are unknown to koffi
  const mmap: (at: null, bytes: number, protection: number, flags: number, fd: number, position: number) => bigint = library.func(
    "void* mmap(void*, size_t, int, int, int, int64_t)",
  );
  return {
    read: library.func("intptr_t read(int, void*, size_t)"),
    write: library.func("intptr_t write(int, const void*, size_t)"),
    pread: library.func("intptr_t pread(int, void*, size_t, int64_t)"),
    pwrite: library.func("intptr_t pwrite(int, const void*, size_t, int64_t)"),
    openat: library.func("int openat(int, const void*, int, uint32_t)"),
    close: library.func("int close(int)"),
    dup: library.func("int dup(int)"),
    statx: library.func("int statx(int, const void*, int, uint32_t, void*)"),
    fstatfs: library.func("int fstatfs(int, void*)"),
    fchmod: library.func("int fchmod(int, uint32_t)"),
    fchmodat: library.func("int fchmodat(int, const void*, uint32_t, int)"),
    fchownat: library.func("int fchownat(int, const void*, uint32_t, uint32_t, int)"),
    ftruncate: library.func("int ftruncate(int, int64_t)"),
    utimensat: library.func("int utimensat(int, const void*, const void*, int)"),
    readlinkat: library.func("intptr_t readlinkat(int, const void*, void*, size_t)"),
    mknodat: library.func("int mknodat(int, const void*, uint32_t, uint64_t)"),
    mkdirat: library.func("int mkdirat(int, const void*, uint32_t)"),
    symlinkat: library.func("int symlinkat(const void*, int, const void*)"),
    linkat: library.func("int linkat(int, const void*, int, const void*, int)"),
    unlinkat: library.func("int unlinkat(int, const void*, int)"),
    renameat2: library.func("int renameat2(int, const void*, int, const void*, uint32_t)"),
    getdents64: library.func("intptr_t getdents64(int, void*, size_t)"),
    lseek: library.func("int64_t lseek(int, int64_t, int)"),
    fsync: library.func("int fsync(int)"),
    fdatasync: library.func("int fdatasync(int)"),
    fallocate: library.func("int fallocate(int, int, int64_t, int64_t)"),
    copy_file_range: library.func("intptr_t copy_file_range(int, void*, int, void*, size_t, uint32_t)"),
    lsetxattr: library.func("int lsetxattr(const void*, const void*, const void*, size_t, int)"),
    lgetxattr: library.func("intptr_t lgetxattr(const void*, const void*, void*, size_t)"),
    llistxattr: library.func("intptr_t llistxattr(const void*, void*, size_t)"),
    lremovexattr: library.func("int lremovexattr(const void*, const void*)"),
    setxattr: library.func("int setxattr(const void*, const void*, const void*, size_t, int)"),
    getxattr: library.func("intptr_t getxattr(const void*, const void*, void*, size_t)"),
    listxattr: library.func("intptr_t listxattr(const void*, void*, size_t)"),
    removexattr: library.func("int removexattr(const void*, const void*)"),
    ioctl: library.func("int ioctl(int, uint64_t, void*)"),
    eventfd: library.func("int eventfd(uint32_t, int)"),
    poll: library.func("int poll(void*, uint64_t, int)"),
    mapShared(fd, bytes) {
      for (const also of [MAP_LOCKED, MAP_POPULATE]) {
        const address = mmap(null, bytes, PROT_READ_WRITE, MAP_SHARED | also, fd, 0);
        if (BigInt.asIntN(64, address) !== -1n) return Buffer.from(koffi.view(address, bytes));
      }
      throw new Error(`mmap failed with error ${koffi.errno()}.`);
    },
    pageBytes: library.func("int getpagesize()")(),
    errno: () => koffi.errno(),
  };
}

/**
 * Where a buffer's bytes are; they never move. The address does not keep them alive: whoever uses it must still refer to the
 * buffer, or the kernel writes into memory that belongs to somebody else by then.
 */
export const addressOf = (buffer: Buffer): bigint => koffi.address(buffer);

/** Error numbers that the code of this folder names. See errno(3). */
export const errors = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  EBADF: 9,
  EAGAIN: 11,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOTTY: 25,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENODATA: 61,
  EOVERFLOW: 75,
  EOPNOTSUPP: 95,
  ESTALE: 116,
} as const;

/** Flags of open(2), of the at-calls and of statx(2). */
export const flags = {
  O_WRONLY: 0o1,
  O_RDWR: 0o2,
  O_CREAT: 0o100,
  O_EXCL: 0o200,
  O_NOCTTY: 0o400,
  O_TRUNC: 0o1000,
  O_APPEND: 0o2000,
  O_NONBLOCK: 0o4000,
  O_DIRECT: 0o40000,
  O_LARGEFILE: 0o100000,
  O_DIRECTORY: 0o200000,
  O_NOFOLLOW: 0o400000,
  O_CLOEXEC: 0o2000000,
  O_PATH: 0o10000000,
  O_TMPFILE: 0o20200000,
  AT_FDCWD: -100,
  AT_SYMLINK_NOFOLLOW: 0x100,
  AT_REMOVEDIR: 0x200,
  AT_SYMLINK_FOLLOW: 0x400,
  AT_EMPTY_PATH: 0x1000,
  STATX_BASIC_AND_BIRTH: 0xfff,
} as const;

/** Bits of st_mode, see inode(7). */
export const modes = {
  S_IFMT: 0o170000,
  S_IFDIR: 0o040000,
  S_IFLNK: 0o120000,
  S_IFREG: 0o100000,
  S_ISUID: 0o4000,
  S_ISGID: 0o2000,
  S_IXGRP: 0o010,
} as const;

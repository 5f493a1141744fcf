/**
 * The FUSE protocol of Linux, version 7 of linux/fuse.h: numbers of operations, bits and where values lie. All little-endian. A request begins
 * with 40 bytes of header, an answer with 16.
 */

export const op = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  IOCTL: 39,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  NOTIFY_REPLY: 41,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  TMPFILE: 51,
} as const;

/** Chaos Mesh's name of each operation that a fault can hit, and the fewest bytes that a request of it has after its header. */
export const operations: ReadonlyMap<number, { readonly method: string; readonly bytes: number }> = new Map([
  [op.LOOKUP, { method: "lookup", bytes: 2 }],
  [op.GETATTR, { method: "getattr", bytes: 16 }],
  [op.SETATTR, { method: "setattr", bytes: 88 }],
  [op.READLINK, { method: "readlink", bytes: 0 }],
  [op.SYMLINK, { method: "symlink", bytes: 3 }],
  [op.MKNOD, { method: "mknod", bytes: 18 }],
  [op.MKDIR, { method: "mkdir", bytes: 10 }],
  [op.UNLINK, { method: "unlink", bytes: 2 }],
  [op.RMDIR, { method: "rmdir", bytes: 2 }],
  [op.RENAME, { method: "rename", bytes: 12 }],
  [op.RENAME2, { method: "rename", bytes: 20 }],
  [op.LINK, { method: "link", bytes: 10 }],
  [op.OPEN, { method: "open", bytes: 8 }],
  [op.READ, { method: "read", bytes: 40 }],
  [op.WRITE, { method: "write", bytes: 40 }],
  [op.STATFS, { method: "statfs", bytes: 0 }],
  [op.FSYNC, { method: "fsync", bytes: 16 }],
  [op.SETXATTR, { method: "setxattr", bytes: 10 }],
  [op.GETXATTR, { method: "getxattr", bytes: 10 }],
  [op.LISTXATTR, { method: "listxattr", bytes: 8 }],
  [op.REMOVEXATTR, { method: "removexattr", bytes: 2 }],
  [op.FLUSH, { method: "flush", bytes: 24 }],
  [op.OPENDIR, { method: "opendir", bytes: 8 }],
  [op.READDIR, { method: "readdir", bytes: 40 }],
  [op.READDIRPLUS, { method: "readdir", bytes: 40 }],
  [op.CREATE, { method: "create", bytes: 18 }],
  [op.TMPFILE, { method: "create", bytes: 16 }],
  // Chaos Mesh has no names for these: they are hit by what hits writes and reads.
  [op.FALLOCATE, { method: "write", bytes: 32 }],
  [op.COPY_FILE_RANGE, { method: "write", bytes: 56 }],
  [op.LSEEK, { method: "read", bytes: 24 }],
  [op.IOCTL, { method: "ioctl", bytes: 32 }],
]);

/** Bytes of requests that nobody can fault. */
export const quietOperations: ReadonlyMap<number, number> = new Map([
  [op.INIT, 16],
  [op.FORGET, 8],
  [op.BATCH_FORGET, 8],
  [op.RELEASE, 24],
  [op.RELEASEDIR, 24],
  [op.FSYNCDIR, 16],
  [op.INTERRUPT, 8],
  [op.DESTROY, 0],
  [op.NOTIFY_REPLY, 0],
]);

export const REQUEST_HEADER = 40;
export const ANSWER_HEADER = 16;
export const MAX_WRITE = 1024 * 1024;

/** Of INIT: what we want of what the kernel offers. Not asked for: locks, which the kernel then keeps by itself, for all who use this mount. */
export const wanted = {
  flags:
    (1 << 0) | // ASYNC_READ
    (1 << 3) | // ATOMIC_O_TRUNC
    (1 << 5) | // BIG_WRITES
    (1 << 13) | // DO_READDIRPLUS
    (1 << 14) | // READDIRPLUS_AUTO
    (1 << 15) | // ASYNC_DIO
    (1 << 18) | // PARALLEL_DIROPS
    (1 << 22) | // MAX_PAGES
    (1 << 28) | // HANDLE_KILLPRIV_V2
    (1 << 30), // INIT_EXT
  flags2:
    (1 << 3) | // HAS_EXPIRE_ONLY
    (1 << 4), // DIRECT_IO_ALLOW_MMAP
} as const;
/** Of INIT, where others may change files: the kernel asks for attributes before it reads what it keeps, and drops it when the time of the last change is a new one. */
export const AUTO_INVAL_DATA = 1 << 12;
/** Of the answer to INIT: names can be made to expire, from Linux 6.2 on; files that are opened direct can be mapped and shared, from 6.6 on. */
export const hasExpireOnly = (flags2: number): boolean => (flags2 & (1 << 3)) !== 0;
export const canMapDirect = (flags2: number): boolean => (flags2 & (1 << 4)) !== 0;

/** Of SETATTR. */
export const fattr = {
  MODE: 1,
  UID: 2,
  GID: 4,
  SIZE: 8,
  ATIME: 16,
  MTIME: 32,
  FH: 64,
  ATIME_NOW: 128,
  MTIME_NOW: 256,
  KILL_SUIDGID: 2048,
} as const;

export const GETATTR_FH = 1;
export const WRITE_KILL_SUIDGID = 4;
export const OPEN_KILL_SUIDGID = 1;
/** What the answer to OPEN says. */
export const fopen = { DIRECT_IO: 1, KEEP_CACHE: 2, PARALLEL_DIRECT_WRITES: 64 } as const;
export const FSYNC_DATA_ONLY = 1;

/** A range within a file: `end` is the first byte after it, Infinity for the end of the file. */
export interface Bytes {
  readonly start: number;
  readonly end: number;
}

/** Messages that the server sends by itself. */
export const notify = { INVAL_INODE: 2, INVAL_ENTRY: 3, RETRIEVE: 5 } as const;
const EXPIRE_ONLY = 1;

function notification(code: number, body: number): Buffer {
  const message = Buffer.alloc(ANSWER_HEADER + body);
  message.writeUInt32LE(message.length, 0);
  message.writeInt32LE(code, 4);
  return message;
}

/** Drops what the kernel keeps of a node: its attributes, and its data within this range. Waits for pages that are locked, see locks.ts. */
export function invalidateNode(node: number, { start, end }: Bytes = { start: 0, end: Infinity }): Buffer {
  const message = notification(notify.INVAL_INODE, 24);
  message.writeBigUInt64LE(BigInt(node), 16);
  message.writeBigInt64LE(BigInt(start), 24);
  if (end !== Infinity) message.writeBigInt64LE(BigInt(end - start), 32); // 0: to the end of the file
  return message;
}

/** Drops the attributes alone. Waits for nothing in the kernel: the serving thread may send it. */
export function invalidateAttributes(node: number): Buffer {
  const message = invalidateNode(node);
  message.writeBigInt64LE(-1n, 24);
  return message;
}

/** Has the kernel ask for a name again when it is next used. Waits for the lock of the folder, see locks.ts. */
export function expireName(parent: number, name: string): Buffer {
  const message = notification(notify.INVAL_ENTRY, 16 + name.length + 1);
  message.writeBigUInt64LE(BigInt(parent), 16);
  message.writeUInt32LE(name.length, 24);
  message.writeUInt32LE(EXPIRE_ONLY, 28);
  message.write(name, 32, "latin1");
  return message;
}

/** Has the kernel send a request, with none of a file's data. It must know the node, and that must be a file. */
export function askForNothing(node: number): Buffer {
  const message = notification(notify.RETRIEVE, 32);
  message.writeBigUInt64LE(BigInt(node), 24);
  return message;
}

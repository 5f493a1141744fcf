/**
 * What a program can do to files of a volume, whoever asks: the driver of the kernel's FUSE protocol and that of libfuse call the same operations.
 * Each means what the system call of its name means; see the manual page of section 2. All of them work at once and throw a FileError.
 */

/** A file, folder, link or the like: the number of its inode, and 1 for the root of the volume. */
export type NodeId = number;
export const ROOT: NodeId = 1;

/** An open file or folder. Unique while it is open. */
export type Handle = number;

/** A name in a folder, or the target of a link. Names are bytes on Linux: each character stands for one of them (`latin1`). */
export type Name = string;

/** The system call failed. One object for each number: it has no stack of its own. */
export class FileError extends Error {
  override readonly name = "FileError";
  /** As errno(3) numbers it, above 0. */
  readonly errno: number;

  private constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = errno;
  }

  static readonly #known = new Map<number, FileError>();

  static of(errno: number): FileError {
    const known = this.#known.get(errno);
    if (known !== undefined) return known;
    const error = new FileError(errno);
    this.#known.set(errno, error);
    return error;
  }
}

/** Who asks. What is made belongs to them; whether they may is the kernel's to say, before it asks. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
}

/** What stat(2) tells. Times are seconds since 1970 and nanoseconds. */
export interface Attributes {
  ino: number;
  size: number;
  /** Of 512 bytes. */
  blocks: number;
  atime: number;
  atimeNs: number;
  mtime: number;
  mtimeNs: number;
  ctime: number;
  ctimeNs: number;
  /** File type and permission bits. */
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  /** As makedev(3) packs it for the kernel: 12 bits of major, 20 of minor number. */
  rdev: number;
  blksize: number;
}

export interface Entry {
  readonly node: NodeId;
  /** Another one than before: the number stands for another file now. */
  readonly generation: number;
  readonly attributes: Attributes;
}

/** "now": the time of the volume's own clock. */
export type NewTime = "now" | { readonly seconds: number; readonly nanos: number };

export interface AttributeChanges {
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly size?: number | undefined;
  readonly atime?: NewTime | undefined;
  readonly mtime?: NewTime | undefined;
  /** Takes set-user-ID and set-group-ID away, as a change of owner or size by somebody without privilege does. */
  readonly killsPrivileges?: boolean | undefined;
}

export interface DirectoryEntry {
  readonly ino: number;
  readonly name: Name;
  /** DT_REG and so on, see readdir(3). */
  readonly type: number;
  /** The position of what comes after it: any 64 bits. */
  readonly next: bigint;
}

/** What statfs(2) tells. */
export interface VolumeSpace {
  readonly blocks: number;
  readonly free: number;
  readonly available: number;
  readonly files: number;
  readonly freeFiles: number;
  readonly blockSize: number;
  readonly fragmentSize: number;
  readonly longestName: number;
}

export interface FileOperations {
  /** Finds a name, and remembers the node until it is forgotten as often as it was found or made. */
  lookup(parent: NodeId, name: Name): Entry;
  forget(node: NodeId, times: number): void;
  getattr(node: NodeId, handle: Handle | undefined): Attributes;
  setattr(node: NodeId, handle: Handle | undefined, changes: AttributeChanges): Attributes;
  readlink(node: NodeId): Name;
  mknod(parent: NodeId, name: Name, mode: number, rdev: number, caller: Caller): Entry;
  mkdir(parent: NodeId, name: Name, mode: number, caller: Caller): Entry;
  symlink(parent: NodeId, name: Name, target: Name, caller: Caller): Entry;
  link(node: NodeId, parent: NodeId, name: Name): Entry;
  unlink(parent: NodeId, name: Name): void;
  rmdir(parent: NodeId, name: Name): void;
  /** Flags as of renameat2(2). */
  rename(parent: NodeId, name: Name, newParent: NodeId, newName: Name, flags: number): void;
  /** Flags as of open(2). */
  open(node: NodeId, flags: number): Handle;
  create(parent: NodeId, name: Name, flags: number, mode: number, caller: Caller): { readonly entry: Entry; readonly handle: Handle };
  /** A file without a name (O_TMPFILE). */
  tmpfile(parent: NodeId, flags: number, mode: number, caller: Caller): { readonly entry: Entry; readonly handle: Handle };
  /** Returns how many bytes were read: fewer than asked for at the end of the file only. */
  read(handle: Handle, into: Buffer, offset: number, length: number, position: number): number;
  write(handle: Handle, from: Buffer, offset: number, length: number, position: number): number;
  /** Takes set-user-ID and set-group-ID away, as a write by somebody without privilege does. */
  killPrivileges(handle: Handle): void;
  /** A descriptor of a file was closed; others may be open still. */
  flush(handle: Handle): void;
  release(handle: Handle): void;
  fsync(handle: Handle, dataOnly: boolean): void;
  opendir(node: NodeId): Handle;
  /** Entries from a position on, 0 for the first; at most about `bytes` of them; none: the end. */
  readdir(handle: Handle, position: bigint, bytes: number): readonly DirectoryEntry[];
  releasedir(handle: Handle): void;
  fsyncdir(handle: Handle, dataOnly: boolean): void;
  statfs(node: NodeId): VolumeSpace;
  setxattr(node: NodeId, name: Name, value: Buffer, flags: number): void;
  getxattr(node: NodeId, name: Name): Buffer;
  /** Names, each followed by a NUL. */
  listxattr(node: NodeId): Buffer;
  removexattr(node: NodeId, name: Name): void;
  fallocate(handle: Handle, mode: number, position: number, length: number): void;
  copyFileRange(from: Handle, fromPosition: number, to: Handle, toPosition: number, length: number): number;
  /** SEEK_DATA and SEEK_HOLE. */
  lseek(handle: Handle, position: number, whence: number): number;
  /** Of the flags and projects of inodes alone (ioctl_iflags(2)); `argument` is read or overwritten. */
  ioctl(handle: Handle, command: number, argument: Buffer): void;
  close(): void;
}

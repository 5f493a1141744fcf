import {
  type AttributeChanges,
  type Attributes,
  type Caller,
  type DirectoryEntry,
  type Entry,
  FileError,
  type FileOperations,
  type Handle,
  type Name,
  type NewTime,
  type NodeId,
  type VolumeSpace,
} from "./file-operations.ts";
import { addressOf, errors, flags, type Libc, modes } from "./libc.ts";
import { checkName, CString, check, type Node, NodeTable, parseEntries, type Place } from "./node-table.ts";
import { readAttributes, readGeneration, readIno, STATX_BYTES } from "./statx.ts";

export interface PassthroughOptions {
  readonly libc: Libc;
  /** Descriptor of the volume's folder. It stays the caller's. */
  readonly folder: number;
  /** RLIMIT_NOFILE of this process. */
  readonly maxDescriptors: number;
}

/** What the kernel's file handle carries and the server's own descriptor must not: positions are given with each write, buffers are not aligned. */
const NOT_OURS = flags.O_CREAT | flags.O_EXCL | flags.O_NOCTTY | flags.O_DIRECT | flags.O_APPEND | flags.O_LARGEFILE | flags.O_NONBLOCK;

const UTIME_NOW = 0x3fff_ffff;
const UTIME_OMIT = 0x3fff_fffe;
/** (uid_t)-1 and (gid_t)-1: leave it as it is. */
const SAME_OWNER = 0xffff_ffff;
const RENAME_EXCHANGE = 2;
const PERMISSIONS = 0o7777;
const LONGEST_XATTR = 65_536;
const LONGEST_PATH = 4_096;
const DIRENT_BYTES = 65_536;

/** File systems on which close(2) of one of several descriptors of a file does nothing; numbers of statfs(2). */
const idleAtClose: ReadonlySet<number> = new Set([
  0xef53 /* ext4 */, 0x0102_1994 /* tmpfs */, 0x5846_5342 /* xfs */, 0x9123_683e /* btrfs */,
]);

/** FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR and the size of their arguments. See ioctl_iflags(2). */
const knownIoctls = new Map([
  [0x8008_6601, 8],
  [0x4008_6602, 8],
  [0x801c_581f, 28],
  [0x401c_5820, 28],
]);

/** The NodeTable as well: drivers ask it for paths and look-ups. */
export interface Passthrough extends FileOperations {
  readonly nodes: NodeTable;
}

/** Does operations on the files of a folder as they are. A handle is a descriptor of this process. The process' umask must be 0. */
export function openPassthrough({ libc, folder, maxDescriptors }: PassthroughOptions): Passthrough {
  const nodes = new NodeTable({ libc, folder, maxOpenFolders: Math.max(16, Math.floor(maxDescriptors / 4)) });
  /** Where open folders would be read on. */
  const folderPositions = new Map<Handle, bigint>();
  const one = new CString(LONGEST_PATH);
  const other = new CString(LONGEST_PATH);
  const empty = new CString(0);
  const statx = Buffer.alloc(STATX_BYTES);
  const statxAddress = addressOf(statx);
  const place: Place = { fd: -1, path: 0n, isEmpty: false };
  const space = Buffer.alloc(128);
  const times = Buffer.alloc(32);
  const positions = Buffer.alloc(16);
  const positionsAddress = addressOf(positions);
  const dirents = Buffer.alloc(DIRENT_BYTES);
  const direntsAddress = addressOf(dirents);
  const value = Buffer.alloc(LONGEST_XATTR);
  const valueAddress = addressOf(value);
  const must = (result: number): number => check(libc, result);
  const us: Caller = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  must(libc.fstatfs(nodes.root.fd, addressOf(space)));
  const actsAtClose = !idleAtClose.has(space.readUInt32LE(0));

  function statAt(fd: number, path: bigint, at: number): void {
    must(libc.statx(fd, path, at | flags.AT_SYMLINK_NOFOLLOW, flags.STATX_BASIC_AND_BIRTH, statxAddress));
  }

  function see(node: Node): Attributes {
    const attributes = readAttributes(statx);
    node.mode = attributes.mode;
    node.gid = attributes.gid;
    return attributes;
  }

  function statNode(node: Node): Attributes {
    nodes.placeOf(node, place);
    statAt(place.fd, place.path, place.isEmpty ? flags.AT_EMPTY_PATH : 0);
    if (nodes.idOf(readIno(statx)) !== node.id) throw FileError.of(errors.ESTALE);
    return see(node);
  }

  function statHandle(fd: Handle, node: Node): Attributes {
    statAt(fd, empty.address, flags.AT_EMPTY_PATH);
    return see(node);
  }

  function entryOf(node: Node): Entry {
    return { node: node.id, generation: readGeneration(statx), attributes: see(node) };
  }

  function find(parent: Node, name: Name): Entry {
    statAt(nodes.folderOf(parent), one.set(name), 0);
    return entryOf(nodes.remember(parent, name, statx));
  }

  /** The number of what has this name now; undefined for nothing. */
  function whoHas(parent: Node, name: Name): NodeId | undefined {
    const result = libc.statx(nodes.folderOf(parent), one.set(name), flags.AT_SYMLINK_NOFOLLOW, flags.STATX_BASIC_AND_BIRTH, statxAddress);
    if (result === 0) return nodes.idOf(readIno(statx));
    const errno = libc.errno();
    if (errno === errors.ENOENT) return undefined;
    throw FileError.of(errno);
  }

  /** The group of what the caller makes there; in a folder with set-group-ID, the kernel has given it the folder's group. */
  function groupOf({ gid }: Caller, parent: Node): number {
    if (parent.mode === 0) statNode(parent);
    return (parent.mode & modes.S_ISGID) === 0 ? gid : SAME_OWNER;
  }

  /** Whether what this process makes belongs to them without a word. */
  const isOurs = (uid: number, group: number): boolean => uid === us.uid && (group === us.gid || group === SAME_OWNER);

  /** What was made belongs to the caller. */
  function giveTo(caller: Caller, parent: Node, name: Name, mode: number): void {
    const group = groupOf(caller, parent);
    if (isOurs(caller.uid, group)) return;
    must(libc.fchownat(nodes.folderOf(parent), one.set(name), caller.uid, group, flags.AT_SYMLINK_NOFOLLOW));
    // A change of owner takes these bits away from files.
    if ((mode & (modes.S_ISUID | modes.S_ISGID)) !== 0 && (mode & modes.S_IFMT) !== modes.S_IFDIR)
      must(libc.fchmodat(nodes.folderOf(parent), one.set(name), mode & PERMISSIONS, 0));
  }

  /** Makes something and gives it to the caller; takes it away again where that fails. */
  function make(parent: Node, name: Name, mode: number, caller: Caller, act: (folder: number, path: bigint) => number): Entry {
    checkName(name);
    const isFolder = (mode & modes.S_IFMT) === modes.S_IFDIR;
    must(act(nodes.folderOf(parent), one.set(name)));
    try {
      giveTo(caller, parent, name, mode);
      return find(parent, name);
    } catch (error) {
      libc.unlinkat(nodes.folderOf(parent), one.set(name), isFolder ? flags.AT_REMOVEDIR : 0);
      throw error;
    }
  }

  /** As `giveTo`, for a file that is open; leaves in `statx` what it is then. */
  function giveOpenTo(caller: Caller, parent: Node, fd: Handle, mode: number): void {
    const group = groupOf(caller, parent);
    if (!isOurs(caller.uid, group)) {
      must(libc.fchownat(fd, empty.address, caller.uid, group, flags.AT_EMPTY_PATH));
      if ((mode & (modes.S_ISUID | modes.S_ISGID)) !== 0) must(libc.fchmod(fd, mode & PERMISSIONS));
    }
    statAt(fd, empty.address, flags.AT_EMPTY_PATH);
  }

  function remove(parent: Node, name: Name, how: number): void {
    const id = whoHas(parent, name);
    if (id === undefined) throw FileError.of(errors.ENOENT);
    nodes.detach(id, parent, name);
    if (libc.unlinkat(nodes.folderOf(parent), one.set(name), how) === 0) return;
    const errno = libc.errno();
    nodes.reattach(id, parent, name);
    throw FileError.of(errno);
  }

  function setTimes(node: Node, { atime, mtime }: AttributeChanges): void {
    writeTime(times, 0, atime);
    writeTime(times, 16, mtime);
    nodes.placeOf(node, place);
    must(libc.utimensat(place.fd, place.path, addressOf(times), place.isEmpty ? flags.AT_EMPTY_PATH : flags.AT_SYMLINK_NOFOLLOW));
  }

  function setMode(node: Node, mode: number): void {
    const { path } = nodes.pathOf(node);
    must(libc.fchmodat(flags.AT_FDCWD, path, mode & PERMISSIONS, 0));
  }

  function setSize(node: Node, handle: Handle | undefined, size: number): void {
    if (handle !== undefined) {
      must(libc.ftruncate(handle, size));
      return;
    }
    const fd = nodes.open(node, flags.O_WRONLY);
    try {
      must(libc.ftruncate(fd, size));
    } finally {
      libc.close(fd);
    }
  }

  function readEntries(fd: Handle, bytes: number): readonly DirectoryEntry[] {
    const length = must(libc.getdents64(fd, direntsAddress, Math.min(bytes, DIRENT_BYTES)));
    return [...parseEntries(dirents, length)];
  }

  function openFile(node: Node, openFlags: number): Handle {
    return nodes.open(node, openFlags & ~NOT_OURS);
  }

  return {
    nodes,
    lookup(parent, name) {
      checkName(name);
      return find(nodes.get(parent), name);
    },
    forget: (node, count) => nodes.forget(node, count),
    getattr(id, handle) {
      const node = nodes.get(id);
      return handle === undefined ? statNode(node) : statHandle(handle, node);
    },
    setattr(id, handle, changes) {
      const node = nodes.get(id);
      const { mode, uid, gid, size, atime, mtime, killsPrivileges } = changes;
      if (size !== undefined) setSize(node, handle, size);
      if (uid !== undefined || gid !== undefined) {
        nodes.placeOf(node, place);
        const how = place.isEmpty ? flags.AT_EMPTY_PATH : flags.AT_SYMLINK_NOFOLLOW;
        must(libc.fchownat(place.fd, place.path, uid ?? SAME_OWNER, gid ?? SAME_OWNER, how));
      }
      if (killsPrivileges === true && mode === undefined) {
        const now = withoutPrivileges(statNode(node).mode);
        if (now !== node.mode) setMode(node, now);
      }
      if (mode !== undefined) setMode(node, mode);
      if (atime !== undefined || mtime !== undefined) setTimes(node, changes);
      return handle === undefined ? statNode(node) : statHandle(handle, node);
    },
    readlink(id) {
      nodes.placeOf(nodes.get(id), place);
      const length = must(libc.readlinkat(place.fd, place.path, valueAddress, LONGEST_PATH));
      return value.toString("latin1", 0, length);
    },
    mknod: (parent, name, mode, rdev, caller) =>
      make(nodes.get(parent), name, mode, caller, (fd, path) => libc.mknodat(fd, path, mode, rdev)),
    mkdir: (parent, name, mode, caller) =>
      make(nodes.get(parent), name, modes.S_IFDIR | mode, caller, (fd, path) => libc.mkdirat(fd, path, mode & PERMISSIONS)),
    symlink: (parent, name, target, caller) =>
      make(nodes.get(parent), name, modes.S_IFLNK, caller, (fd, path) => libc.symlinkat(other.set(target), fd, path)),
    link(id, parentId, name) {
      checkName(name);
      const node = nodes.get(id);
      const parent = nodes.get(parentId);
      const folder = nodes.folderOf(parent);
      const { path, isLink } = nodes.pathOf(node);
      must(libc.linkat(flags.AT_FDCWD, path, folder, one.set(name), isLink ? flags.AT_SYMLINK_FOLLOW : 0));
      return find(parent, name);
    },
    unlink: (parent, name) => remove(nodes.get(parent), name, 0),
    rmdir: (parent, name) => remove(nodes.get(parent), name, flags.AT_REMOVEDIR),
    rename(parentId, name, newParentId, newName, how) {
      checkName(newName);
      const parent = nodes.get(parentId);
      const newParent = nodes.get(newParentId);
      const moved = whoHas(parent, name);
      if (moved === undefined) throw FileError.of(errors.ENOENT);
      const replaced = whoHas(newParent, newName);
      const isReplaced = replaced !== undefined && replaced !== moved && (how & RENAME_EXCHANGE) === 0;
      if (isReplaced) nodes.detach(replaced, newParent, newName);
      if (libc.renameat2(nodes.folderOf(parent), one.set(name), nodes.folderOf(newParent), other.set(newName), how) < 0) {
        const errno = libc.errno();
        if (isReplaced) nodes.reattach(replaced, newParent, newName);
        throw FileError.of(errno);
      }
      if (replaced === moved) return; // two names of one file: rename(2) does nothing
      nodes.move(moved, newParent, newName);
      if (replaced !== undefined && !isReplaced) nodes.move(replaced, parent, name);
    },
    open(id, openFlags) {
      return openFile(nodes.get(id), openFlags);
    },
    create(parentId, name, openFlags, mode, caller) {
      checkName(name);
      const parent = nodes.get(parentId);
      const own = (openFlags & ~NOT_OURS) | flags.O_NOFOLLOW | flags.O_CLOEXEC;
      const made = libc.openat(nodes.folderOf(parent), one.set(name), own | flags.O_CREAT | flags.O_EXCL, mode & PERMISSIONS);
      if (made < 0) {
        const errno = libc.errno();
        if (errno !== errors.EEXIST || (openFlags & flags.O_EXCL) !== 0) throw FileError.of(errno);
        const entry = find(parent, name); // somebody else was quicker
        return { entry, handle: openFile(nodes.get(entry.node), openFlags) };
      }
      try {
        giveOpenTo(caller, parent, made, mode);
        return { entry: entryOf(nodes.remember(parent, name, statx)), handle: made };
      } catch (error) {
        libc.close(made);
        libc.unlinkat(nodes.folderOf(parent), one.set(name), 0);
        throw error;
      }
    },
    tmpfile(parentId, openFlags, mode, caller) {
      const parent = nodes.get(parentId);
      const own = (openFlags & ~NOT_OURS & ~flags.O_NOFOLLOW) | flags.O_TMPFILE | flags.O_CLOEXEC;
      // Only a file that was opened without O_EXCL may be given a name later.
      const fd = must(libc.openat(nodes.folderOf(parent), one.set("."), own | (openFlags & flags.O_EXCL), mode & PERMISSIONS));
      try {
        giveOpenTo(caller, parent, fd, mode);
        return { entry: entryOf(nodes.adopt(parent, statx, must(libc.dup(fd)))), handle: fd };
      } catch (error) {
        libc.close(fd);
        throw error;
      }
    },
    read: (fd, into, offset, length, position) => must(libc.pread(fd, addressIn(into, offset), length, position)),
    write: (fd, from, offset, length, position) => must(libc.pwrite(fd, addressIn(from, offset), length, position)),
    killPrivileges(fd) {
      statAt(fd, empty.address, flags.AT_EMPTY_PATH);
      const { mode, ino } = readAttributes(statx);
      const now = withoutPrivileges(mode);
      if (now !== mode) must(libc.fchmod(fd, now & PERMISSIONS));
      const node = nodes.known(nodes.idOf(ino));
      if (node !== undefined) node.mode = now;
    },
    // As libfuse's examples do: a file system below that acts at close(2) acts at each of them.
    flush: (fd) => void (actsAtClose && must(libc.close(must(libc.dup(fd))))),
    release: (fd) => void libc.close(fd),
    fsync: (fd, dataOnly) => void must(dataOnly ? libc.fdatasync(fd) : libc.fsync(fd)),
    opendir(id) {
      const fd = nodes.open(nodes.get(id), flags.O_DIRECTORY);
      folderPositions.set(fd, 0n);
      return fd;
    },
    readdir(fd, position, bytes) {
      if (folderPositions.get(fd) !== position) must(libc.lseek(fd, position, 0));
      const entries = readEntries(fd, bytes);
      folderPositions.set(fd, entries.at(-1)?.next ?? position);
      return entries;
    },
    releasedir(fd) {
      folderPositions.delete(fd);
      libc.close(fd);
    },
    fsyncdir: (fd, dataOnly) => void must(dataOnly ? libc.fdatasync(fd) : libc.fsync(fd)),
    statfs(): VolumeSpace {
      must(libc.fstatfs(nodes.root.fd, addressOf(space)));
      const word = (index: number): number => Number(space.readBigUInt64LE(index * 8));
      return {
        blockSize: word(1),
        blocks: word(2),
        free: word(3),
        available: word(4),
        files: word(5),
        freeFiles: word(6),
        longestName: word(8),
        fragmentSize: word(9),
      };
    },
    setxattr(id, name, bytes, how) {
      const { path, isLink } = nodes.pathOf(nodes.get(id));
      const [key, start] = [one.set(name), addressIn(bytes, 0)];
      must(isLink ? libc.setxattr(path, key, start, bytes.length, how) : libc.lsetxattr(path, key, start, bytes.length, how));
    },
    getxattr(id, name) {
      const { path, isLink } = nodes.pathOf(nodes.get(id));
      const key = one.set(name);
      const length = must(
        isLink ? libc.getxattr(path, key, valueAddress, LONGEST_XATTR) : libc.lgetxattr(path, key, valueAddress, LONGEST_XATTR),
      );
      return value.subarray(0, length);
    },
    listxattr(id) {
      const { path, isLink } = nodes.pathOf(nodes.get(id));
      const length = must(isLink ? libc.listxattr(path, valueAddress, LONGEST_XATTR) : libc.llistxattr(path, valueAddress, LONGEST_XATTR));
      return value.subarray(0, length);
    },
    removexattr(id, name) {
      const { path, isLink } = nodes.pathOf(nodes.get(id));
      const key = one.set(name);
      must(isLink ? libc.removexattr(path, key) : libc.lremovexattr(path, key));
    },
    fallocate: (fd, mode, position, length) => void must(libc.fallocate(fd, mode, position, length)),
    copyFileRange(from, fromPosition, to, toPosition, length) {
      positions.writeBigInt64LE(BigInt(fromPosition), 0);
      positions.writeBigInt64LE(BigInt(toPosition), 8);
      return must(libc.copy_file_range(from, positionsAddress, to, positionsAddress + 8n, length, 0));
    },
    lseek: (fd, position, whence) => must(libc.lseek(fd, position, whence)),
    ioctl(fd, command, argument) {
      if (knownIoctls.get(command) !== argument.length) throw FileError.of(errors.ENOTTY);
      must(libc.ioctl(fd, command, addressIn(argument, 0)));
    },
    close() {
      nodes.close();
      libc.close(nodes.root.fd);
    },
  };
}

const known = new WeakMap<ArrayBufferLike, bigint>();

/** Buffers that are used again and again are asked for their address once. */
function addressIn(buffer: Buffer, offset: number): bigint {
  let start = known.get(buffer.buffer);
  if (start === undefined) {
    start = addressOf(Buffer.from(buffer.buffer));
    known.set(buffer.buffer, start);
  }
  return start + BigInt(buffer.byteOffset + offset);
}

/** As the kernel does: set-group-ID without the group's right to execute means something else, and stays. */
function withoutPrivileges(mode: number): number {
  const taken = (mode & modes.S_IXGRP) === 0 ? modes.S_ISUID : modes.S_ISUID | modes.S_ISGID;
  return (mode & modes.S_IFMT) === modes.S_IFREG ? mode & ~taken : mode;
}

function writeTime(times: Buffer, offset: number, time: NewTime | undefined): void {
  const [seconds, nanos] = time === undefined ? [0, UTIME_OMIT] : time === "now" ? [0, UTIME_NOW] : [time.seconds, time.nanos];
  times.writeBigInt64LE(BigInt(seconds), offset);
  times.writeBigInt64LE(BigInt(nanos), offset + 8);
}

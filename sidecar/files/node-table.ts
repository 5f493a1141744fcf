import { FileError, type Name, type NodeId, ROOT } from "./file-operations.ts";
import type { CompiledFault } from "./fault-layer.ts";
import { addressOf, errors, flags, type Libc } from "./libc.ts";
import { readIno, STATX_BYTES } from "./statx.ts";

/** A file, folder or the like that somebody knows the number of. */
export interface Node {
  readonly id: NodeId;
  /** Where it was last found. Undefined for the root alone. */
  parent: Node | undefined;
  name: Name;
  /** How often it was found or made and not yet forgotten. */
  lookups: number;
  /** An O_PATH descriptor, or -1: of folders while they are used, and of what has lost its name. */
  fd: number;
  /** Whether it can only be reached by `fd`: its name is gone, or somebody else's. */
  isDetached: boolean;
  /** As last seen; 0: not seen yet. */
  mode: number;
  gid: number;
  /** What rules of faults have to do with it, as of `matchedAt`; kept here because it is asked for with each operation. */
  matched: readonly CompiledFault[];
  matchedAt: number;
}

/** Where a system call finds a node: a descriptor and a path from there, with AT_EMPTY_PATH where that is empty. */
export interface Place {
  fd: number;
  path: bigint;
  isEmpty: boolean;
}

export interface NodeTableOptions {
  readonly libc: Libc;
  /** Descriptor of the volume's folder. */
  readonly folder: number;
  /** How many folders may be held open. */
  readonly maxOpenFolders: number;
}

const LONGEST_NAME = 255;
const DIRENT_HEADER = 19;

/**
 * Knows the nodes of a volume by the numbers of their inodes, so that a server that takes over finds them again. A node costs no descriptor while
 * it can be reached by its name; what is changed behind the back of this server is noticed where numbers do not fit.
 */
export class NodeTable {
  readonly root: Node;
  readonly #libc: Libc;
  readonly #rootIno: number;
  readonly #nodes = new Map<NodeId, Node>();
  /** Folders that are open, the one that was opened first in front. */
  readonly #openFolders = new Set<Node>();
  readonly #maxOpenFolders: number;
  #hasScanned = false;
  readonly #name = new CString(4096);
  readonly #emptyPath = new CString(1);
  readonly #statx = Buffer.alloc(STATX_BYTES);
  readonly #statxAddress = addressOf(this.#statx);

  constructor({ libc, folder, maxOpenFolders }: NodeTableOptions) {
    this.#libc = libc;
    this.#maxOpenFolders = maxOpenFolders;
    const fd = check(libc, libc.openat(folder, this.#name.set("."), flags.O_PATH | flags.O_DIRECTORY | flags.O_CLOEXEC, 0));
    check(libc, libc.statx(fd, this.#emptyPath.address, flags.AT_EMPTY_PATH, flags.STATX_BASIC_AND_BIRTH, this.#statxAddress));
    this.#rootIno = readIno(this.#statx);
    this.root = createNode(ROOT, undefined, "");
    this.root.fd = fd;
    this.root.lookups = 1;
    this.#nodes.set(ROOT, this.root);
  }

  get size(): number {
    return this.#nodes.size;
  }

  all(): Iterable<Node> {
    return this.#nodes.values();
  }

  /** The number that stands for an inode: 1 is the root's, whose own number stands for inode 1. */
  idOf(ino: number): NodeId {
    if (ino === this.#rootIno) return ROOT;
    if (ino > Number.MAX_SAFE_INTEGER) throw FileError.of(errors.EOVERFLOW);
    return ino === ROOT ? this.#rootIno : ino;
  }

  known(id: NodeId): Node | undefined {
    return this.#nodes.get(id);
  }

  /** The node of a number. One that an earlier server knew is looked for in the whole volume. Throws ESTALE when it is gone. */
  get(id: NodeId): Node {
    const known = this.#nodes.get(id);
    if (known !== undefined) return known;
    this.scanOnce();
    const found = this.#nodes.get(id);
    if (found === undefined) throw FileError.of(errors.ESTALE);
    return found;
  }

  /** A node that was just found or made, by what statx(2) told of it. Counts one look-up. */
  remember(parent: Node, name: Name, statx: Buffer): Node {
    const id = this.idOf(readIno(statx));
    let node = this.#nodes.get(id);
    if (node === undefined) {
      node = createNode(id, parent, name);
      this.#nodes.set(id, node);
    } else if (id !== ROOT) {
      node.parent = parent;
      node.name = name;
      if (node.isDetached) this.#close(node);
      node.isDetached = false;
    }
    node.lookups += 1;
    return node;
  }

  forget(id: NodeId, times: number): void {
    const node = this.#nodes.get(id);
    if (node === undefined || id === ROOT) return;
    node.lookups -= times;
    if (node.lookups > 0) return;
    this.#nodes.delete(id);
    this.#close(node);
  }

  /** A descriptor of a folder, or of what has no name: O_PATH. It stays the table's. */
  folderOf(node: Node): number {
    if (node.fd >= 0) return node.fd;
    node.fd = this.open(node, flags.O_PATH | flags.O_DIRECTORY);
    this.#openFolders.add(node);
    if (this.#openFolders.size > this.#maxOpenFolders) this.#closeOldestBut(node);
    return node.fd;
  }

  /** Opens a node anew. The caller closes it. `openFlags` as of open(2). */
  open(node: Node, openFlags: number): number {
    const { parent } = node;
    if (node.fd >= 0 || parent === undefined) {
      if ((openFlags & flags.O_PATH) !== 0) return check(this.#libc, this.#libc.dup(node.fd));
      const kept = openFlags & ~flags.O_NOFOLLOW; // the path is a link of /proc
      return check(this.#libc, this.#libc.openat(flags.AT_FDCWD, this.#name.set(`/proc/self/fd/${node.fd}`), kept | flags.O_CLOEXEC, 0));
    }
    const folder = this.folderOf(parent);
    const fd = check(this.#libc, this.#libc.openat(folder, this.#name.set(node.name), openFlags | flags.O_NOFOLLOW | flags.O_CLOEXEC, 0));
    if (this.#isStill(node, fd)) return fd;
    this.#libc.close(fd);
    throw FileError.of(errors.ESTALE);
  }

  /** Fills in where the node is. Valid until the next call of this table. */
  placeOf(node: Node, place: Place): void {
    const { parent } = node;
    place.isEmpty = node.fd >= 0 || parent === undefined;
    if (parent === undefined || node.fd >= 0) {
      place.fd = node.fd;
      place.path = this.#emptyPath.address;
    } else {
      place.fd = this.folderOf(parent);
      place.path = this.#name.set(node.name);
    }
  }

  /** A path for system calls that know no descriptors. Its last part is a link to be followed where `isEmpty`. */
  pathOf(node: Node): { readonly path: bigint; readonly isLink: boolean } {
    const { parent } = node;
    return parent === undefined || node.fd >= 0
      ? { path: this.#name.set(`/proc/self/fd/${node.fd}`), isLink: true }
      : { path: this.#name.set(`/proc/self/fd/${this.folderOf(parent)}/${node.name}`), isLink: false };
  }

  /** Keeps what is about to lose its name, so that whoever has it open goes on. Does nothing where it is known by another name. */
  detach(id: NodeId, parent: Node, name: Name): void {
    const node = this.#nodes.get(id);
    if (node === undefined || node.isDetached || node.parent !== parent || node.name !== name) return;
    if (node.fd < 0) node.fd = this.open(node, flags.O_PATH);
    this.#openFolders.delete(node); // never closed to make room
    node.isDetached = true;
  }

  /** It kept its name after all. */
  reattach(id: NodeId, parent: Node, name: Name): void {
    const node = this.#nodes.get(id);
    if (node === undefined || !node.isDetached || node.parent !== parent || node.name !== name) return;
    node.isDetached = false;
    this.#openFolders.add(node);
  }

  move(id: NodeId, parent: Node, name: Name): void {
    const node = this.#nodes.get(id);
    if (node === undefined) return;
    node.parent = parent;
    node.name = name;
    if (!node.isDetached) return;
    node.isDetached = false;
    this.#openFolders.add(node);
  }

  /** What has no name from the start (O_TMPFILE). The descriptor becomes the table's. */
  adopt(parent: Node, statx: Buffer, fd: number): Node {
    const node = this.remember(parent, "", statx);
    node.fd = fd;
    node.isDetached = true;
    return node;
  }

  /** From the root of the volume, such as `/a/b`; the last one known for what has no name. */
  volumePath(node: Node): string {
    let path = "";
    for (let at: Node = node; at.parent !== undefined; at = at.parent) path = `/${at.name}${path}`;
    return path === "" ? "/" : path;
  }

  close(): void {
    for (const node of this.#nodes.values()) this.#close(node);
    this.#nodes.clear();
  }

  #isStill(node: Node, fd: number): boolean {
    const result = this.#libc.statx(fd, this.#emptyPath.address, flags.AT_EMPTY_PATH, flags.STATX_BASIC_AND_BIRTH, this.#statxAddress);
    return result === 0 && this.idOf(readIno(this.#statx)) === node.id;
  }

  #close(node: Node): void {
    if (node.fd < 0 || node === this.root) return;
    this.#libc.close(node.fd);
    node.fd = -1;
    this.#openFolders.delete(node);
  }

  #closeOldestBut(kept: Node): void {
    for (const node of this.#openFolders) {
      if (node === kept || node.isDetached) continue;
      this.#close(node);
      return;
    }
  }

  /**
   * Walks through the volume and remembers all that is there: numbers that an earlier server has told are to be found again. Once is enough, as from
   * then on all that comes and goes is seen. Nobody is known to have looked a node up; a forget that comes takes it away.
   */
  scanOnce(): void {
    if (this.#hasScanned) return;
    this.#hasScanned = true;
    const buffer = Buffer.alloc(65_536);
    const address = addressOf(buffer);
    const waiting: Node[] = [this.root];
    for (let folder = waiting.pop(); folder !== undefined; folder = waiting.pop()) {
      let fd: number;
      try {
        fd = this.open(folder, flags.O_DIRECTORY);
      } catch {
        continue; // it went meanwhile
      }
      for (;;) {
        const read = this.#libc.getdents64(fd, address, buffer.length);
        if (read <= 0) break;
        for (const { ino, name, type } of parseEntries(buffer, read)) {
          if (name === "." || name === "..") continue;
          const id = this.idOf(ino);
          const known = this.#nodes.get(id);
          const node = known ?? createNode(id, folder, name);
          if (known === undefined) this.#nodes.set(id, node);
          if (type === DT_DIR) waiting.push(node);
        }
      }
      this.#libc.close(fd);
    }
  }
}

const DT_DIR = 4;

/** Entries as getdents64(2) writes them. */
export function* parseEntries(
  buffer: Buffer,
  length: number,
): Generator<{ readonly ino: number; readonly next: bigint; readonly type: number; readonly name: Name }> {
  for (let at = 0; at < length; ) {
    const size = buffer.readUInt16LE(at + 16);
    const end = buffer.indexOf(0, at + DIRENT_HEADER);
    yield {
      ino: buffer.readUInt32LE(at + 4) * 2 ** 32 + buffer.readUInt32LE(at),
      next: buffer.readBigInt64LE(at + 8),
      type: buffer.readUInt8(at + 18),
      name: buffer.toString("latin1", at + DIRENT_HEADER, end),
    };
    at += size;
  }
}

function createNode(id: NodeId, parent: Node | undefined, name: Name): Node {
  return {
    id,
    parent,
    name,
    lookups: 0,
    fd: -1,
    isDetached: false,
    mode: 0,
    gid: 0,
    matched: [],
    matchedAt: -1,
  };
}

/** A text for system calls: ends in NUL, and stays where it is. */
export class CString {
  readonly address: bigint;
  readonly #bytes: Buffer;

  constructor(size: number) {
    this.#bytes = Buffer.alloc(size + 1);
    this.address = addressOf(this.#bytes);
  }

  /** Each character is one byte. Throws ENAMETOOLONG. Returns the address. */
  set(text: Name): bigint {
    if (text.length >= this.#bytes.length) throw FileError.of(errors.ENAMETOOLONG);
    this.#bytes.write(text, 0, "latin1");
    this.#bytes[text.length] = 0;
    return this.address;
  }
}

/** A name that a folder can have. */
export function checkName(name: Name): void {
  if (name.length > LONGEST_NAME) throw FileError.of(errors.ENAMETOOLONG);
  if (name === "" || name.includes("/")) throw FileError.of(errors.EINVAL);
}

/** The result of a system call, or its failure as an error. */
export function check(libc: Libc, result: number): number {
  if (result < 0) throw FileError.of(libc.errno());
  return result;
}

import {
  type AttributeChanges,
  type Attributes,
  type Caller,
  type Entry,
  FileError,
  type Handle,
  type Name,
  type NewTime,
  type NodeId,
  ROOT,
} from "../file-operations.ts";
import {
  type CacheRules,
  cacheRulesFor,
  type CompiledFault,
  type FaultLayer,
  makeMistakes,
  overrideAttributes,
  type Verdict,
} from "../fault-layer.ts";
import { addressOf, errors, flags, type Libc, modes } from "../libc.ts";
import type { Node } from "../node-table.ts";
import type { Passthrough } from "../passthrough.ts";
import { AbsentNames } from "./absent-names.ts";
import { type HeldRequest, HeldRequests } from "./held-requests.ts";
import { KeptData } from "./kept-data.ts";
import {
  ANSWER_HEADER,
  AUTO_INVAL_DATA,
  expireName,
  fattr,
  fopen,
  FSYNC_DATA_ONLY,
  GETATTR_FH,
  hasExpireOnly,
  invalidateAttributes,
  invalidateNode,
  MAX_WRITE,
  op,
  OPEN_KILL_SUIDGID,
  operations,
  quietOperations,
  REQUEST_HEADER,
  wanted,
  WRITE_KILL_SUIDGID,
} from "./protocol.ts";
import { SyncPace } from "./sync-pace.ts";
import { isDisguised, readInt64, readName, readNode, readUint64, writeInt64, writeNode, writeUint64 } from "./wire.ts";

export interface SessionOptions {
  readonly libc: Libc;
  /** Descriptor of /dev/fuse. */
  readonly fuse: number;
  readonly files: Passthrough;
  readonly faults: FaultLayer;
  /** Tells handles of this server from those of earlier ones: below 2 ** 31. */
  readonly epoch: number;
  /** What an earlier server and the kernel agreed on, as `onInit` told it. */
  readonly init: string | undefined;
  /** Whether others than those who use this mount may change files. */
  readonly isShared: boolean;
  readonly onInit: (init: string) => void;
  /** Whether there is a request to be read. */
  readonly isAnyWaiting: () => boolean;
  /** Does what takes long on another thread and answers there. */
  readonly onSync: (sync: SlowSync) => void;
  /** Sends messages to the kernel from another thread: the kernel may wait for an answer of this one. */
  readonly onNotify: (messages: readonly Buffer[]) => void;
  /** Until it is told otherwise the kernel has this node, which is a file that is open; 0: none is known. */
  readonly onPin: (node: NodeId) => void;
  readonly onBug: (error: unknown) => void;
  readonly nowMs: () => number;
  readonly random: () => number;
}

export interface SlowSync {
  readonly fd: number;
  readonly dataOnly: boolean;
  /** The first 16 bytes of a good answer. */
  readonly answer: Buffer;
}

const BODY = REQUEST_HEADER;
const OUT = ANSWER_HEADER;
const ATTR_BYTES = 88;
const ENTRY_BYTES = 40 + ATTR_BYTES;
const RESENT = 0x8000_0000;
const DIRENT_BYTES = 24;
/** How long the kernel may keep names and attributes, seconds. What changes goes through this server, but for other pods on a shared volume. */
const KEEP_SECONDS = 1;
/** The kernel counts the time that it keeps something in ticks, of 10 ms at the most, and from when it has the answer. */
const TICK_MS = 100;
const NOTHING = -1;

/** A folder or file that an earlier server had open. */
type Reopened = Map<string, Handle>;

/** Serves the requests of one mount, one after the other, on one thread. */
export class Session {
  readonly #options: SessionOptions;
  /** Where requests are read to. */
  readonly request: Buffer = Buffer.alloc(MAX_WRITE + 8_192);
  readonly #out: Buffer = Buffer.alloc(MAX_WRITE + OUT);
  readonly #outAddress = addressOf(this.#out);
  readonly #held = new HeldRequests();
  readonly #reopened: Reopened = new Map();
  /** An open file, of which the kernel surely has the node as long as it does not release the handle. */
  #pinned: Handle | undefined;
  readonly #syncPace = new SyncPace();
  /** Files whose data the kernel does not keep. */
  readonly #direct = new Set<Handle>();
  readonly #kept = new KeptData();
  readonly #absent = new AbsentNames({ keepMs: KEEP_SECONDS * 1000 + TICK_MS });
  #flags2 = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
    if (options.init !== undefined) this.#flags2 = readFlags2(options.init);
  }

  /** When a held request is due, as `nowMs` counts; Infinity for none. */
  get nextMs(): number {
    return this.#held.nextMs;
  }

  /** Answers what has waited long enough. */
  releaseDue(): void {
    const nowMs = this.#options.nowMs();
    for (const held of this.#held.takeDue(nowMs)) {
      // It was due because a fault was to end, and that was given more time meanwhile.
      if (nowMs < held.goesOnMs && latenciesOf(held.verdict).every((fault) => this.#options.faults.isInForce(fault))) this.#hold(held);
      else this.#goOn(held.request, held.verdict);
    }
  }

  /** Answers what waits for a fault that is over, and returns what the kernel must drop so that the change is seen. */
  onRulesChanged(changed: readonly CompiledFault[]): readonly Buffer[] {
    const { faults } = this.#options;
    const isFree = ({ verdict }: HeldRequest): boolean => !latenciesOf(verdict).every((fault) => faults.isInForce(fault));
    for (const { request, verdict } of this.#held.takeWhere(isFree)) this.#goOn(request, verdict);
    return this.#invalidate(changed);
  }

  /** Serves the request in `request`, of this many bytes. Never throws. */
  serve(length: number): void {
    const { request } = this;
    if (length < REQUEST_HEADER || request.readUInt32LE(0) !== length) return this.#answerError(request, errors.EIO);
    const code = request.readUInt32LE(4);
    const operation = operations.get(code);
    const leastBytes = operation?.bytes ?? quietOperations.get(code);
    if (leastBytes === undefined) return this.#answerError(request, errors.ENOSYS);
    if (length - REQUEST_HEADER < leastBytes) return this.#answerError(request, errors.EINVAL);
    const { faults } = this.#options;
    if (operation === undefined || faults.isIdle) return this.#carryOut(request, length, undefined);
    faults.see(operation.method);
    const verdict = this.#judge(operation.method, code, length);
    if (verdict === undefined) return this.#carryOut(request, length, undefined);
    if (verdict.delayMs <= 0) return this.#goOn(request.subarray(0, length), verdict);
    this.#hold({
      uniqueLow: request.readUInt32LE(8),
      uniqueHigh: request.readUInt32LE(12),
      request: Buffer.from(request.subarray(0, length)),
      verdict,
      goesOnMs: this.#options.nowMs() + verdict.delayMs,
    });
  }

  #hold(held: Omit<HeldRequest, "dueMs">): void {
    this.#held.add({ ...held, dueMs: Math.min(held.goesOnMs, ...latenciesOf(held.verdict).map(({ endMs }) => endMs)) });
  }

  #judge(method: string, code: number, length: number): Verdict | undefined {
    try {
      return this.#options.faults.judge(method, this.#faultsOn(this.request, code, length));
    } catch (error) {
      if (!(error instanceof FileError)) this.#options.onBug(error);
      return undefined; // what is wrong with the request is found once more when it is carried out
    }
  }

  /** A fault that ended while the request was held back has no effect on it any more. */
  #goOn(request: Buffer, verdict: Verdict): void {
    const inForce = verdict.faults.filter((fault) => this.#options.faults.isInForce(fault));
    const error = inForce.find((fault) => fault.io.effect?.$case === "error");
    if (error?.io.effect?.$case === "error") return this.#answerError(request, error.io.effect.value.errno);
    this.#carryOut(request, request.length, inForce.length === 0 ? undefined : { ...verdict, faults: inForce });
  }

  #carryOut(request: Buffer, length: number, verdict: Verdict | undefined): void {
    let bytes: number;
    try {
      bytes = this.#act(request, length, verdict);
    } catch (error) {
      if (!(error instanceof FileError)) this.#options.onBug(error);
      return this.#answerError(request, error instanceof FileError ? error.errno : errors.EIO);
    }
    if (bytes !== NOTHING) this.#answer(request, bytes);
  }

  #answer(request: Buffer, bytes: number): void {
    const out = this.#out;
    out.writeUInt32LE(OUT + bytes, 0);
    out.writeInt32LE(0, 4);
    out.writeUInt32LE(request.readUInt32LE(8), 8);
    out.writeUInt32LE(request.readUInt32LE(12), 12);
    // Fails where nobody waits any more, or the mount is gone; the next read tells.
    this.#options.libc.write(this.#options.fuse, this.#outAddress, OUT + bytes);
  }

  #answerError(request: Buffer, errno: number): void {
    const out = this.#out;
    out.writeUInt32LE(OUT, 0);
    out.writeInt32LE(-errno, 4);
    out.writeUInt32LE(request.readUInt32LE(8), 8);
    out.writeUInt32LE(request.readUInt32LE(12), 12);
    this.#options.libc.write(this.#options.fuse, this.#outAddress, OUT);
  }

  /** Faults on the node of a request, or on the names in it. */
  #faultsOn(request: Buffer, code: number, length: number): readonly CompiledFault[] {
    const { files } = this.#options;
    const node = files.nodes.get(nodeOf(request));
    switch (code) {
      case op.LOOKUP:
      case op.UNLINK:
      case op.RMDIR:
      case op.SYMLINK:
        return this.#faultsAtName(node, readName(request, BODY, length));
      case op.MKDIR:
      case op.LINK:
        return this.#faultsAtName(node, readName(request, BODY + 8, length));
      case op.MKNOD:
      case op.CREATE:
        return this.#faultsAtName(node, readName(request, BODY + 16, length));
      case op.RENAME:
      case op.RENAME2: {
        const start = BODY + (code === op.RENAME ? 8 : 16);
        const name = readName(request, start, length);
        const newParent = files.nodes.get(readNode(request, BODY));
        const newName = readName(request, start + name.length + 1, length);
        return [...new Set([...this.#faultsAtName(node, name), ...this.#faultsAtName(newParent, newName)])];
      }
      default:
        return this.#faultsOnNode(node);
    }
  }

  #lookup(parent: NodeId, name: Name, verdict: Verdict | undefined): number {
    const { files } = this.#options;
    let entry: Entry;
    try {
      entry = files.lookup(parent, name);
    } catch (error) {
      if (!(error instanceof FileError) || error.errno !== errors.ENOENT || !this.#keepsAbsent(parent, name)) throw error;
      this.#out.fill(0, OUT, OUT + ENTRY_BYTES); // node 0: there is none
      writeUint64(this.#out, OUT + 16, KEEP_SECONDS);
      return ENTRY_BYTES;
    }
    return this.#entry(entry, verdict);
  }

  /** Whether the kernel may take a name for absent, without asking, for a while: others cannot make it appear, and no fault is to hit who looks for it. */
  #keepsAbsent(parent: NodeId, name: Name): boolean {
    const { isShared, faults, files, nowMs } = this.#options;
    if (isShared || !hasExpireOnly(this.#flags2)) return false;
    if (!faults.isIdle && !cacheRulesFor(this.#faultsAtName(files.nodes.get(parent), name)).keepsNames) return false;
    return this.#absent.add(parent, name, nowMs());
  }

  #faultsAtName(parent: Node, name: Name): readonly CompiledFault[] {
    const folder = this.#options.files.nodes.volumePath(parent);
    return this.#options.faults.faultsAt(folder === "/" ? `/${name}` : `${folder}/${name}`);
  }

  #faultsOnNode(node: Node): readonly CompiledFault[] {
    const { faults, files } = this.#options;
    if (faults.isIdle) return [];
    if (node.matchedAt !== faults.epoch) {
      node.matched = faults.faultsAt(files.nodes.volumePath(node));
      node.matchedAt = faults.epoch;
    }
    return node.matched;
  }

  #cacheRules(id: NodeId): CacheRules {
    const node = this.#options.files.nodes.known(id);
    return cacheRulesFor(node === undefined ? [] : this.#faultsOnNode(node));
  }

  #invalidate(changed: readonly CompiledFault[]): readonly Buffer[] {
    if (changed.length === 0) return [];
    const { nodes } = this.#options.files;
    // What the kernel keeps since an earlier server is to be dropped, too.
    if (this.#options.init !== undefined) nodes.scanOnce();
    const messages: Buffer[] = [];
    for (const node of nodes.all()) {
      const path = nodes.volumePath(node);
      if (!changed.some(({ matchesPath }) => matchesPath(path))) continue;
      messages.push(invalidateNode(node.id));
      if (node.parent !== undefined && !node.isDetached && hasExpireOnly(this.#flags2))
        messages.push(expireName(node.parent.id, node.name));
    }
    for (const { parent, name } of this.#absent.all()) {
      const folder = nodes.known(parent);
      if (folder === undefined) continue;
      const path = nodes.volumePath(folder);
      if (changed.some(({ matchesPath }) => matchesPath(path === "/" ? `/${name}` : `${path}/${name}`)))
        messages.push(expireName(parent, name));
    }
    return messages;
  }

  /** Does what is asked and leaves the answer in `out`. Returns its bytes, or NOTHING where there is none. */
  #act(b: Buffer, length: number, verdict: Verdict | undefined): number {
    const { files } = this.#options;
    const node = nodeOf(b);
    const code = b.readUInt32LE(4);
    switch (code) {
      case op.READ:
        return this.#read(b, node, verdict);
      case op.WRITE:
        return this.#write(b, node, length, verdict);
      case op.LOOKUP:
        return this.#lookup(node, readName(b, BODY, length), verdict);
      case op.GETATTR: {
        const handle = (b.readUInt32LE(BODY) & GETATTR_FH) === 0 ? undefined : this.#handle(b, BODY + 8, node, flags.O_RDWR);
        return this.#attributes(b, node, files.getattr(node, handle), verdict);
      }
      case op.SETATTR:
        return this.#setattr(b, node);
      case op.READLINK: {
        const written = this.#out.write(files.readlink(node), OUT, "latin1");
        if (verdict !== undefined) makeMistakes(this.#out.subarray(OUT, OUT + written), verdict, this.#options.random);
        return written;
      }
      case op.SYMLINK: {
        const name = readName(b, BODY, length);
        const target = readName(b, BODY + name.length + 1, length);
        return this.#made(b, node, name, () => files.symlink(node, name, target, callerOf(b)));
      }
      case op.MKNOD: {
        const name = readName(b, BODY + 16, length);
        return this.#made(b, node, name, () => files.mknod(node, name, b.readUInt32LE(BODY), b.readUInt32LE(BODY + 4), callerOf(b)));
      }
      case op.MKDIR: {
        const name = readName(b, BODY + 8, length);
        return this.#made(b, node, name, () => files.mkdir(node, name, b.readUInt32LE(BODY), callerOf(b)));
      }
      case op.LINK: {
        const name = readName(b, BODY + 8, length);
        return this.#made(b, node, name, () => files.link(readNode(b, BODY), node, name));
      }
      case op.UNLINK:
        return this.#gone(b, () => files.unlink(node, readName(b, BODY, length)));
      case op.RMDIR:
        return this.#gone(b, () => files.rmdir(node, readName(b, BODY, length)));
      case op.RENAME:
        return this.#rename(b, node, BODY + 8, length, 0);
      case op.RENAME2:
        return this.#rename(b, node, BODY + 16, length, b.readUInt32LE(BODY + 8));
      case op.OPEN: {
        const handle = files.open(node, b.readUInt32LE(BODY));
        if ((b.readUInt32LE(BODY + 4) & OPEN_KILL_SUIDGID) !== 0) this.#killPrivileges(node, handle);
        return this.#opened(OUT, node, handle, files.getattr(node, handle));
      }
      case op.CREATE: {
        const name = readName(b, BODY + 16, length);
        const openFlags = b.readUInt32LE(BODY);
        const isAgain = isResent(b);
        // The one before has made it, perhaps; then nobody else has.
        const made = files.create(node, name, isAgain ? openFlags & ~flags.O_EXCL : openFlags, b.readUInt32LE(BODY + 4), callerOf(b));
        this.#entry(made.entry, verdict);
        return ENTRY_BYTES + this.#opened(OUT + ENTRY_BYTES, made.entry.node, made.handle, made.entry.attributes);
      }
      case op.TMPFILE: {
        const made = files.tmpfile(node, b.readUInt32LE(BODY), b.readUInt32LE(BODY + 4), callerOf(b));
        this.#entry(made.entry, verdict);
        return ENTRY_BYTES + this.#opened(OUT + ENTRY_BYTES, made.entry.node, made.handle, made.entry.attributes);
      }
      case op.STATFS:
        return this.#statfs(node);
      case op.RELEASE:
        return this.#release(b, (handle) => {
          if (!this.#direct.delete(handle)) this.#kept.close(node);
          this.#unpin(handle);
          files.release(handle);
        });
      case op.RELEASEDIR:
        return this.#release(b, (handle) => files.releasedir(handle));
      case op.FLUSH:
        files.flush(this.#handle(b, BODY, node, flags.O_RDWR));
        return 0;
      case op.FSYNC:
        return this.#sync(b, this.#handle(b, BODY, node, flags.O_RDWR));
      case op.FSYNCDIR:
        return this.#sync(b, this.#folder(b, node));
      case op.OPENDIR: {
        const handle = files.opendir(node);
        this.#writeOpen(OUT, handle, 0);
        return 16;
      }
      case op.READDIR:
        return this.#readdir(b, node, { withEntries: false });
      case op.READDIRPLUS:
        return this.#readdir(b, node, { withEntries: true });
      case op.SETXATTR: {
        const name = readName(b, BODY + 8, length);
        const start = BODY + 8 + name.length + 1;
        const size = b.readUInt32LE(BODY);
        if (start + size > length) throw FileError.of(errors.EINVAL);
        files.setxattr(node, name, b.subarray(start, start + size), b.readUInt32LE(BODY + 4));
        return 0;
      }
      case op.GETXATTR:
        return this.#xattr(b.readUInt32LE(BODY), files.getxattr(node, readName(b, BODY + 8, length)));
      case op.LISTXATTR:
        return this.#xattr(b.readUInt32LE(BODY), files.listxattr(node));
      case op.REMOVEXATTR:
        files.removexattr(node, readName(b, BODY, length));
        return 0;
      case op.FALLOCATE: {
        const handle = this.#handle(b, BODY, node, flags.O_RDWR);
        files.fallocate(handle, b.readUInt32LE(BODY + 24), readUint64(b, BODY + 8), readUint64(b, BODY + 16));
        this.#noteChange(node, handle);
        return 0;
      }
      case op.COPY_FILE_RANGE: {
        // The kernel then reads and writes, and mistakes can be made.
        if (verdict?.faults.some(({ io }) => io.effect?.$case === "mistake") === true) throw FileError.of(errors.EOPNOTSUPP);
        const from = this.#handle(b, BODY, node, flags.O_RDWR);
        const target = readNode(b, BODY + 16);
        const to = this.#handle(b, BODY + 24, target, flags.O_RDWR);
        const copied = files.copyFileRange(from, readUint64(b, BODY + 8), to, readUint64(b, BODY + 32), readUint64(b, BODY + 40));
        this.#noteChange(target, to);
        this.#out.writeUInt32LE(copied, OUT);
        this.#out.writeUInt32LE(0, OUT + 4);
        return 8;
      }
      case op.LSEEK: {
        const handle = this.#handle(b, BODY, node, flags.O_RDWR);
        writeUint64(this.#out, OUT, files.lseek(handle, readUint64(b, BODY + 8), b.readUInt32LE(BODY + 16)));
        return 8;
      }
      case op.IOCTL:
        return this.#ioctl(b, node, length);
      case op.FORGET:
        this.#forget(node, readUint64(b, BODY));
        return NOTHING;
      case op.BATCH_FORGET: {
        const count = Math.min(b.readUInt32LE(BODY), Math.floor((length - BODY - 8) / 16));
        for (let at = BODY + 8; at < BODY + 8 + count * 16; at += 16) this.#forget(readNode(b, at), readUint64(b, at + 8));
        return NOTHING;
      }
      case op.INTERRUPT: {
        const [low, high] = [b.readUInt32LE(BODY), b.readUInt32LE(BODY + 4)];
        const interrupted = this.#held.takeWhere(({ uniqueLow, uniqueHigh }) => uniqueLow === low && uniqueHigh === high);
        // Never EINTR: a disk does not answer so, and a page fault that fails ends its process by SIGBUS. Go sends its own threads signals all the time.
        for (const { request, verdict } of interrupted) this.#goOn(request, verdict);
        return NOTHING;
      }
      case op.INIT:
        return this.#init(b, length);
      case op.DESTROY:
        return 0;
      case op.NOTIFY_REPLY:
        return NOTHING;
      default:
        throw FileError.of(errors.ENOSYS);
    }
  }

  #forget(node: NodeId, times: number): void {
    this.#options.files.forget(node, times);
    if (this.#options.files.nodes.known(node) === undefined) this.#kept.forget(node);
  }

  #pin(b: Buffer, node: NodeId, handle: Handle): void {
    if (this.#pinned !== undefined || isDisguised(b, NODE_AT) || b.readUInt32LE(BODY + 4) !== this.#options.epoch) return;
    this.#pinned = handle;
    this.#options.onPin(node);
  }

  #unpin(handle: Handle): void {
    if (this.#pinned !== handle) return;
    this.#pinned = undefined;
    this.#options.onPin(0);
  }

  #read(b: Buffer, node: NodeId, verdict: Verdict | undefined): number {
    const handle = this.#handle(b, BODY, node, b.readUInt32LE(BODY + 32));
    this.#pin(b, node, handle);
    const size = Math.min(b.readUInt32LE(BODY + 16), MAX_WRITE);
    const read = this.#options.files.read(handle, this.#out, OUT, size, readUint64(b, BODY + 8));
    if (verdict !== undefined) makeMistakes(this.#out.subarray(OUT, OUT + read), verdict, this.#options.random);
    this.#forgetData(node, handle);
    return read;
  }

  #write(b: Buffer, node: NodeId, length: number, verdict: Verdict | undefined): number {
    // Pages of a mapping are written back with the flags of no open file: 0, which is to read.
    const openFlags = b.readUInt32LE(BODY + 32) || flags.O_RDWR;
    const handle = this.#handle(b, BODY, node, openFlags);
    this.#pin(b, node, handle);
    const size = b.readUInt32LE(BODY + 16);
    if (BODY + 40 + size > length) throw FileError.of(errors.EINVAL);
    if (verdict !== undefined) makeMistakes(b.subarray(BODY + 40, BODY + 40 + size), verdict, this.#options.random);
    const written = this.#options.files.write(handle, b, BODY + 40, size, readUint64(b, BODY + 8));
    if ((b.readUInt32LE(BODY + 20) & WRITE_KILL_SUIDGID) !== 0 && this.#hasPrivileges(node)) this.#killPrivileges(node, handle);
    if (verdict !== undefined) this.#forgetData(node, handle);
    this.#noteChange(node, handle);
    this.#out.writeUInt32LE(written, OUT);
    this.#out.writeUInt32LE(0, OUT + 4);
    return 8;
  }

  /** The kernel keeps the mode that it knows, and does not see that it changes. */
  #killPrivileges(node: NodeId, handle: Handle): void {
    this.#options.files.killPrivileges(handle);
    const message = invalidateAttributes(node);
    this.#options.libc.write(this.#options.fuse, addressOf(message), message.length);
  }

  #hasPrivileges(id: NodeId): boolean {
    const mode = this.#options.files.nodes.known(id)?.mode ?? 0;
    return mode === 0 || (mode & (modes.S_ISUID | modes.S_ISGID)) !== 0;
  }

  /** A file that was opened before a fault came is kept by the kernel: each time it has asked for data, it is told to forget them. */
  #forgetData(node: NodeId, handle: Handle): void {
    if (this.#options.faults.isIdle || this.#direct.has(handle) || this.#cacheRules(node).keepsData) return;
    this.#options.onNotify([invalidateNode(node)]);
  }

  /**
   * Who reads a file that is kept while another one writes to it past the kernel's cache may have it keep what was there before: the kernel drops that
   * before the write, not after it. Which files were kept for an earlier server, nobody knows.
   */
  #noteChange(node: NodeId, handle: Handle | undefined): void {
    this.#kept.write(node);
    if (handle === undefined || !this.#direct.has(handle)) return;
    if (this.#kept.isOpen(node) || this.#options.init !== undefined) this.#options.onNotify([invalidateNode(node)]);
    else this.#kept.forget(node); // before Linux 6.6 the kernel drops nothing by itself
  }

  #setattr(b: Buffer, node: NodeId): number {
    const valid = b.readUInt32LE(BODY);
    const time = (bit: number, nowBit: number, seconds: number, nanos: number): NewTime | undefined => {
      if ((valid & bit) === 0) return undefined;
      return (valid & nowBit) === 0 ? { seconds: readInt64(b, BODY + seconds), nanos: b.readUInt32LE(BODY + nanos) } : "now";
    };
    const changes: AttributeChanges = {
      mode: (valid & fattr.MODE) === 0 ? undefined : b.readUInt32LE(BODY + 68),
      uid: (valid & fattr.UID) === 0 ? undefined : b.readUInt32LE(BODY + 76),
      gid: (valid & fattr.GID) === 0 ? undefined : b.readUInt32LE(BODY + 80),
      size: (valid & fattr.SIZE) === 0 ? undefined : readUint64(b, BODY + 16),
      atime: time(fattr.ATIME, fattr.ATIME_NOW, 32, 56),
      mtime: time(fattr.MTIME, fattr.MTIME_NOW, 40, 60),
      killsPrivileges: (valid & fattr.KILL_SUIDGID) !== 0,
    };
    const handle = (valid & fattr.FH) === 0 ? undefined : this.#handle(b, BODY + 8, node, flags.O_RDWR);
    const found = this.#options.files.setattr(node, handle, changes);
    this.#noteChange(node, handle);
    return this.#attributes(b, node, found, undefined);
  }

  /** What was made, or what an earlier server had made already when it ended. */
  #made(b: Buffer, parent: NodeId, name: Name, make: () => Entry): number {
    try {
      return this.#entry(make(), undefined);
    } catch (error) {
      if (!isResent(b) || !(error instanceof FileError) || error.errno !== errors.EEXIST) throw error;
      return this.#entry(this.#options.files.lookup(parent, name), undefined);
    }
  }

  #gone(b: Buffer, remove: () => void): number {
    try {
      remove();
    } catch (error) {
      if (!isResent(b) || !(error instanceof FileError) || error.errno !== errors.ENOENT) throw error;
    }
    return 0;
  }

  #rename(b: Buffer, parent: NodeId, start: number, length: number, how: number): number {
    const name = readName(b, start, length);
    const newName = readName(b, start + name.length + 1, length);
    this.#gone(b, () => this.#options.files.rename(parent, name, readNode(b, BODY), newName, how));
    this.#options.faults.epoch += 1; // paths have changed
    return 0;
  }

  #readdir(b: Buffer, node: NodeId, { withEntries }: { readonly withEntries: boolean }): number {
    const { files } = this.#options;
    const out = this.#out;
    const size = Math.min(b.readUInt32LE(BODY + 16), MAX_WRITE);
    const handle = this.#folder(b, node);
    const entryBytes = withEntries ? ENTRY_BYTES : 0;
    let at = OUT;
    // Three quarters: an entry takes at most 8 bytes more here than from getdents64(2); one with what a look-up tells, six times as much.
    const bytesToRead = Math.floor(withEntries ? size / 6 : (size * 3) / 4);
    for (const { ino, name, type, next } of files.readdir(handle, b.readBigInt64LE(BODY + 8), bytesToRead)) {
      const bytes = entryBytes + DIRENT_BYTES + ((name.length + 7) & ~7);
      if (at + bytes > OUT + size) break;
      if (withEntries) {
        out.fill(0, at, at + ENTRY_BYTES);
        if (name !== "." && name !== "..") this.#entryInFolder(at, node, name);
      }
      const dirent = at + entryBytes;
      out.fill(0, dirent + DIRENT_BYTES, at + bytes);
      writeUint64(out, dirent, ino);
      out.writeBigInt64LE(next, dirent + 8);
      out.writeUInt32LE(name.length, dirent + 16);
      out.writeUInt32LE(type, dirent + 20);
      out.write(name, dirent + DIRENT_BYTES, "latin1");
      at += bytes;
    }
    return at - OUT;
  }

  /** With a listing comes what a look-up would tell; where a fault might hit that, or the name is gone, the kernel asks for it by itself. */
  #entryInFolder(at: number, parent: NodeId, name: Name): void {
    const { files, faults } = this.#options;
    const folder = files.nodes.known(parent);
    if (folder === undefined) return;
    if (!faults.isIdle && !cacheRulesFor(this.#faultsAtName(folder, name)).keepsNames) return;
    try {
      this.#writeEntry(at, files.lookup(parent, name), undefined);
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
    }
  }

  #xattr(asked: number, value: Buffer): number {
    if (asked === 0) {
      this.#out.writeUInt32LE(value.length, OUT);
      this.#out.writeUInt32LE(0, OUT + 4);
      return 8;
    }
    if (value.length > asked) throw FileError.of(errors.ERANGE);
    return value.copy(this.#out, OUT);
  }

  #ioctl(b: Buffer, node: NodeId, length: number): number {
    const inBytes = b.readUInt32LE(BODY + 24);
    const outBytes = b.readUInt32LE(BODY + 28);
    if (BODY + 32 + inBytes > length || Math.max(inBytes, outBytes) > 64) throw FileError.of(errors.ENOTTY);
    const argument = Buffer.alloc(Math.max(inBytes, outBytes));
    b.copy(argument, 0, BODY + 32, BODY + 32 + inBytes);
    this.#options.files.ioctl(this.#handle(b, BODY, node, flags.O_RDWR), b.readUInt32LE(BODY + 12), argument);
    this.#out.fill(0, OUT, OUT + 16);
    return 16 + argument.copy(this.#out, OUT + 16, 0, outBytes);
  }

  /** Takes long on a slow disk: others are served meanwhile. */
  #sync(b: Buffer, fd: Handle): number {
    const { files, nowMs, isAnyWaiting } = this.#options;
    const dataOnly = (b.readUInt32LE(BODY + 8) & FSYNC_DATA_ONLY) !== 0;
    const startMs = nowMs();
    if (this.#syncPace.isQuick(startMs) && !isAnyWaiting()) {
      files.fsync(fd, dataOnly);
      this.#syncPace.note(startMs, nowMs());
      return 0;
    }
    const answer = Buffer.alloc(OUT);
    answer.writeUInt32LE(OUT, 0);
    b.copy(answer, 8, 8, 16);
    this.#options.onSync({ fd, dataOnly, answer });
    return NOTHING;
  }

  #statfs(node: NodeId): number {
    const space = this.#options.files.statfs(node);
    const out = this.#out;
    out.fill(0, OUT, OUT + 80);
    [space.blocks, space.free, space.available, space.files, space.freeFiles].forEach((value, index) =>
      writeUint64(out, OUT + index * 8, value),
    );
    out.writeUInt32LE(space.blockSize, OUT + 40);
    out.writeUInt32LE(space.longestName, OUT + 44);
    out.writeUInt32LE(space.fragmentSize, OUT + 48);
    return 80;
  }

  #init(b: Buffer, length: number): number {
    const out = this.#out;
    const minor = b.readUInt32LE(BODY + 4);
    out.fill(0, OUT, OUT + 64);
    out.writeUInt32LE(7, OUT);
    out.writeUInt32LE(Math.min(minor, 41), OUT + 4);
    out.writeUInt32LE(b.readUInt32LE(BODY + 8), OUT + 8);
    const flags1 = wanted.flags | (this.#options.isShared ? AUTO_INVAL_DATA : 0);
    out.writeUInt32LE((b.readUInt32LE(BODY + 12) & flags1) >>> 0, OUT + 12);
    out.writeUInt16LE(64, OUT + 16);
    out.writeUInt16LE(48, OUT + 18);
    out.writeUInt32LE(MAX_WRITE, OUT + 20);
    out.writeUInt32LE(1, OUT + 24);
    out.writeUInt16LE(MAX_WRITE / 4_096, OUT + 28);
    this.#flags2 = length >= BODY + 20 ? (b.readUInt32LE(BODY + 16) & wanted.flags2) >>> 0 : 0;
    out.writeUInt32LE(this.#flags2, OUT + 32);
    this.#options.onInit(out.toString("base64", OUT, OUT + 64));
    return 64;
  }

  #entry(entry: Entry, verdict: Verdict | undefined): number {
    this.#writeEntry(OUT, entry, verdict);
    return ENTRY_BYTES;
  }

  #writeEntry(at: number, { node, generation, attributes }: Entry, verdict: Verdict | undefined): void {
    const out = this.#out;
    const seconds = this.#cacheRules(node).keepsNames ? KEEP_SECONDS : 0;
    const told = verdict === undefined ? attributes : overrideAttributes(attributes, verdict);
    const hasOtherType = ((told.mode ^ attributes.mode) & modes.S_IFMT) !== 0;
    writeNode(out, at, node, { isDisguised: hasOtherType && node !== ROOT });
    writeUint64(out, at + 8, generation);
    writeUint64(out, at + 16, seconds);
    writeUint64(out, at + 24, seconds);
    writeUint64(out, at + 32, 0);
    this.#writeAttributes(at + 40, node === ROOT ? withType(told, attributes.mode) : told);
  }

  #attributes(b: Buffer, node: NodeId, found: Attributes, verdict: Verdict | undefined): number {
    writeUint64(this.#out, OUT, this.#cacheRules(node).keepsNames ? KEEP_SECONDS : 0);
    writeUint64(this.#out, OUT + 8, 0);
    const told = verdict === undefined ? found : overrideAttributes(found, verdict);
    // Of which type it is, the kernel knows from the look-up.
    this.#writeAttributes(OUT + 16, isDisguised(b, NODE_AT) ? told : withType(told, found.mode));
    return 16 + ATTR_BYTES;
  }

  #writeAttributes(at: number, told: Attributes): void {
    const out = this.#out;
    writeUint64(out, at, told.ino);
    writeUint64(out, at + 8, told.size);
    writeUint64(out, at + 16, told.blocks);
    writeInt64(out, at + 24, told.atime);
    writeInt64(out, at + 32, told.mtime);
    writeInt64(out, at + 40, told.ctime);
    out.writeUInt32LE(told.atimeNs, at + 48);
    out.writeUInt32LE(told.mtimeNs, at + 52);
    out.writeUInt32LE(told.ctimeNs, at + 56);
    out.writeUInt32LE(told.mode, at + 60);
    out.writeUInt32LE(told.nlink, at + 64);
    out.writeUInt32LE(told.uid, at + 68);
    out.writeUInt32LE(told.gid, at + 72);
    out.writeUInt32LE(told.rdev, at + 76);
    out.writeUInt32LE(told.blksize, at + 80);
    out.writeUInt32LE(0, at + 84);
  }

  #opened(at: number, node: NodeId, handle: Handle, found: Attributes): number {
    if (this.#cacheRules(node).keepsData) return this.#writeOpen(at, handle, this.#kept.open(node, found) ? fopen.KEEP_CACHE : 0);
    this.#direct.add(handle);
    return this.#writeOpen(at, handle, fopen.DIRECT_IO | fopen.PARALLEL_DIRECT_WRITES);
  }

  #writeOpen(at: number, handle: Handle, openFlags: number): number {
    this.#out.writeUInt32LE(handle, at);
    this.#out.writeUInt32LE(this.#options.epoch, at + 4);
    this.#out.writeUInt32LE(openFlags, at + 8);
    this.#out.writeUInt32LE(0, at + 12);
    return 16;
  }

  /** The handle of a request. What an earlier server had open is opened again, as the flags say. */
  #handle(b: Buffer, at: number, node: NodeId, openFlags: number): Handle {
    const low = b.readUInt32LE(at);
    const high = b.readUInt32LE(at + 4);
    if (high === this.#options.epoch) return low;
    const key = `${high}:${low}`;
    const known = this.#reopened.get(key);
    if (known !== undefined) return known;
    const handle = this.#reopen(node, openFlags & ~flags.O_TRUNC);
    this.#reopened.set(key, handle);
    return handle;
  }

  #reopen(node: NodeId, openFlags: number): Handle {
    try {
      return this.#options.files.open(node, openFlags);
    } catch (error) {
      if (!(error instanceof FileError) || openFlags !== flags.O_RDWR) throw error;
      return this.#options.files.open(node, 0); // a file that cannot be written, such as a running program
    }
  }

  #folder(b: Buffer, node: NodeId): Handle {
    const low = b.readUInt32LE(BODY);
    const high = b.readUInt32LE(BODY + 4);
    if (high === this.#options.epoch) return low;
    const key = `${high}:${low}`;
    const handle = this.#reopened.get(key) ?? this.#options.files.opendir(node);
    this.#reopened.set(key, handle);
    return handle;
  }

  #release(b: Buffer, release: (handle: Handle) => void): number {
    const low = b.readUInt32LE(BODY);
    const high = b.readUInt32LE(BODY + 4);
    const isOwn = high === this.#options.epoch;
    const key = `${high}:${low}`;
    const handle = isOwn ? low : this.#reopened.get(key);
    if (handle === undefined) return 0; // never used in this life
    this.#reopened.delete(key);
    release(handle);
    return 0;
  }
}

const withType = (attributes: Attributes, mode: number): Attributes => ({
  ...attributes,
  mode: (attributes.mode & ~modes.S_IFMT) | (mode & modes.S_IFMT),
});

const latenciesOf = ({ faults }: Verdict): readonly CompiledFault[] => faults.filter(({ io }) => io.effect?.$case === "latency");

/** flags2 of the answer to INIT. */
function readFlags2(init: string): number {
  const answer = Buffer.from(init, "base64");
  return answer.length < 36 ? 0 : answer.readUInt32LE(32);
}

const NODE_AT = 16;
const nodeOf = (b: Buffer): NodeId => readNode(b, NODE_AT);
const callerOf = (b: Buffer): Caller => ({ uid: b.readUInt32LE(24), gid: b.readUInt32LE(28) });
/** Sent again by the kernel because a server read it and ended before it answered. */
const isResent = (b: Buffer): boolean => b.readUInt32LE(12) >= RESENT;

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
import { type CompiledFault, type FaultLayer, makeMistakes, overrideAttributes, type Verdict } from "../fault-layer.ts";
import { addressOf, errors, flags, type Libc, modes } from "../libc.ts";
import type { Passthrough } from "../passthrough.ts";
import {
  direntBytes,
  ENTRY_BYTES,
  readFlags2,
  withType,
  writeAbsence,
  writeAttributesKept,
  writeCount,
  writeDirent,
  writeEntry,
  writeInit,
  writeOpen,
  writeSpace,
} from "./answers.ts";
import { FaultsByFile } from "./faults-by-file.ts";
import { Handles } from "./handles.ts";
import { type HeldRequest, HeldRequests } from "./held-requests.ts";
import { KEEP_SECONDS, KernelCache } from "./kernel-cache.ts";
import { type Locked, lockedBy } from "./locks.ts";
import {
  ANSWER_HEADER,
  fattr,
  FSYNC_DATA_ONLY,
  GETATTR_FH,
  invalidateAttributes,
  MAX_WRITE,
  op,
  OPEN_KILL_SUIDGID,
  operations,
  quietOperations,
  REQUEST_HEADER,
  WRITE_KILL_SUIDGID,
} from "./protocol.ts";
import type { RequestsInFlight } from "./requests-in-flight.ts";
import { SyncPace } from "./sync-pace.ts";
import { isDisguised, NODE_AT, readInt64, readName, readNode, readUint64, writeUint64 } from "./wire.ts";

export interface SessionOptions {
  readonly libc: Libc;
  /** Descriptor of /dev/fuse. */
  readonly fuse: number;
  readonly requests: RequestsInFlight;
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
  /** Has somebody else send messages to the kernel, which may wait for an answer of this process. Whether it is to say when they are sent: by `onSent`. */
  readonly onNotify: (messages: readonly Buffer[], how: { readonly isAwaited: boolean }) => void;
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
  /** To be given to `endSync` once it is answered. */
  readonly slot: number;
}

const BODY = REQUEST_HEADER;
const OUT = ANSWER_HEADER;
/** In the upper half of the number of a request; the kernel's numbers never come so far. */
const IS_AGAIN = 0x8000_0000;
const NOTHING = -1;

/** Serves the requests of one mount, one after the other, on one thread. */
export class Session {
  readonly #options: SessionOptions;
  readonly #out: Buffer = Buffer.alloc(MAX_WRITE + OUT);
  readonly #outAddress = addressOf(this.#out);
  readonly #held = new HeldRequests();
  readonly #handles: Handles;
  readonly #byFile: FaultsByFile;
  readonly #cache: KernelCache;
  /** An open file, of which the kernel surely has the node as long as it does not release the handle. */
  #pinned: Handle | undefined;
  readonly #syncPace = new SyncPace();

  constructor(options: SessionOptions) {
    const { files, faults, init } = options;
    this.#options = options;
    this.#handles = new Handles(options);
    this.#byFile = new FaultsByFile(faults, files.nodes);
    this.#cache = new KernelCache({
      ...options,
      nodes: files.nodes,
      byFile: this.#byFile,
      isSuccessor: init !== undefined,
      pageBytes: options.libc.pageBytes,
      held: () => this.#held.locked(),
    });
    if (init !== undefined) this.#cache.agree(readFlags2(Buffer.from(init, "base64")));
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
      else this.#letGo(held);
    }
  }

  /**
   * Answers what waits for a fault that is over, and calls back once the kernel has dropped what hides the change. `isNew`: no earlier server had these
   * faults, so that much may have to be dropped.
   */
  onRulesChanged(changed: readonly CompiledFault[], { isNew, onSeen }: { readonly isNew: boolean; readonly onSeen: () => void }): void {
    const { faults } = this.#options;
    const isFree = ({ verdict }: HeldRequest): boolean => !latenciesOf(verdict).every((fault) => faults.isInForce(fault));
    for (const held of this.#held.takeWhere(isFree)) this.#letGo(held);
    this.#cache.invalidate(changed, { isNew, onSent: onSeen });
    if (changed.length > 0) this.#held.leaveOut();
  }

  /** The oldest messages that are awaited are sent. */
  onSent(): void {
    this.#cache.onSent();
  }

  /** Serves what earlier servers of this mount had read and not answered. To be called once, before any other request is read. */
  resume(): void {
    for (const { request, slot, forget } of this.#options.requests.lost()) {
      if (unanswered.has(request.readUInt32LE(4))) {
        forget();
        continue;
      }
      markAgain(request);
      const held = this.#serve(request, request.length, slot);
      if (slot === undefined || held !== slot) forget();
    }
  }

  /** Serves the request that was read to `requests.request`, of this many bytes. Never throws. */
  serve(length: number): void {
    const { requests } = this.#options;
    this.#serve(requests.request, length);
    requests.done();
  }

  /** `slot`: where it is held already. Returns where it is held from now on; undefined for nowhere. */
  #serve(request: Buffer, length: number, slot?: number): number | undefined {
    const refused = errnoOf(request, length);
    if (refused !== undefined) {
      this.#answerError(request, refused);
      return undefined;
    }
    const verdict = this.#judge(request, length);
    if (verdict !== undefined && verdict.delayMs > 0) {
      const locked = lockedBy(request, this.#options.libc.pageBytes);
      if (locked === undefined || !this.#cache.isWaitedFor(locked))
        return this.#delay(request.subarray(0, length), { verdict, slot, locked });
    }
    if (verdict === undefined) this.#carryOut(request, length, undefined);
    else this.#goOn(request.subarray(0, length), verdict);
    return undefined;
  }

  #delay(
    request: Buffer,
    { verdict, slot, locked }: { readonly verdict: Verdict; readonly slot: number | undefined; readonly locked: Locked | undefined },
  ): number | undefined {
    const own = Buffer.from(request);
    own.writeUInt32LE(uniqueHighOf(request), 12);
    const kept = slot ?? this.#options.requests.hold(own) ?? own;
    this.#hold({
      uniqueLow: own.readUInt32LE(8),
      uniqueHigh: own.readUInt32LE(12),
      kept,
      isAgain: isAgain(request),
      locked,
      verdict,
      goesOnMs: this.#options.nowMs() + verdict.delayMs,
    });
    return typeof kept === "number" ? kept : undefined;
  }

  #hold(held: Omit<HeldRequest, "dueMs">): void {
    this.#held.add({ ...held, dueMs: Math.min(held.goesOnMs, ...latenciesOf(held.verdict).map(({ endMs }) => endMs)) });
  }

  #letGo({ kept, isAgain: again, verdict, locked, isLeftOut }: HeldRequest): void {
    const { requests } = this.#options;
    const request = typeof kept === "number" ? requests.read(kept) : kept;
    if (again) markAgain(request);
    this.#goOn(request, verdict);
    if (typeof kept === "number") requests.release(kept);
    // What was read is to be dropped by now.
    if (isLeftOut !== true || locked?.are !== "pages" || request.readUInt32LE(4) === op.READ) return;
    this.#cache.dropLeftOut(locked.node, locked.bytes);
    this.#held.leaveOut(locked.node);
  }

  #judge(request: Buffer, length: number): Verdict | undefined {
    const { faults, onBug } = this.#options;
    const code = request.readUInt32LE(4);
    const method = operations.get(code)?.method;
    if (method === undefined || faults.isIdle) return undefined;
    faults.see(method);
    try {
      return faults.judge(method, this.#byFile.ofRequest(request, code, length));
    } catch (error) {
      if (!(error instanceof FileError)) onBug(error);
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
    if (bytes !== NOTHING && !this.#answer(request, bytes) && isAgain(request)) this.#giveBack(request);
  }

  /** Returns whether the kernel took it. It does not where nobody waits any more, or the mount is gone; the next read tells. */
  #answer(request: Buffer, bytes: number): boolean {
    const out = this.#out;
    out.writeUInt32LE(OUT + bytes, 0);
    out.writeInt32LE(0, 4);
    copyUnique(request, out);
    return this.#options.libc.write(this.#options.fuse, this.#outAddress, OUT + bytes) >= 0;
  }

  /** An earlier server had answered already: what was opened once more, the kernel will not give back. Nodes it does know, by the earlier answer. */
  #giveBack(request: Buffer): void {
    const { files } = this.#options;
    const entry = readNode(this.#out, OUT);
    switch (request.readUInt32LE(4)) {
      case op.OPEN:
        return this.#release(nodeOf(request), this.#out.readUInt32LE(OUT));
      case op.OPENDIR:
        return files.releasedir(this.#out.readUInt32LE(OUT));
      case op.CREATE:
        return this.#release(entry, this.#out.readUInt32LE(OUT + ENTRY_BYTES));
      case op.TMPFILE: // another file than that of the earlier answer
        this.#release(entry, this.#out.readUInt32LE(OUT + ENTRY_BYTES));
        return this.#forget(entry, 1);
    }
  }

  #answerError(request: Buffer, errno: number): void {
    const out = this.#out;
    out.writeUInt32LE(OUT, 0);
    out.writeInt32LE(-errno, 4);
    copyUnique(request, out);
    this.#options.libc.write(this.#options.fuse, this.#outAddress, OUT);
  }

  #lookup(parent: NodeId, name: Name, verdict: Verdict | undefined): number {
    const { files } = this.#options;
    let entry: Entry;
    try {
      entry = files.lookup(parent, name);
    } catch (error) {
      if (!(error instanceof FileError) || error.errno !== errors.ENOENT || !this.#cache.keepsAbsent(parent, name)) throw error;
      return writeAbsence(this.#out, OUT, KEEP_SECONDS);
    }
    return this.#entry(entry, verdict);
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
        const handle = (b.readUInt32LE(BODY) & GETATTR_FH) === 0 ? undefined : this.#handles.file(b, BODY + 8, node, flags.O_RDWR);
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
        return this.#once(b, errors.ENOENT, () => files.unlink(node, readName(b, BODY, length)));
      case op.RMDIR:
        return this.#once(b, errors.ENOENT, () => files.rmdir(node, readName(b, BODY, length)));
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
        const hasBegun = isAgain(b);
        // The one before has made it, perhaps; then nobody else has.
        const made = files.create(node, name, hasBegun ? openFlags & ~flags.O_EXCL : openFlags, b.readUInt32LE(BODY + 4), callerOf(b));
        this.#entry(made.entry, verdict);
        return ENTRY_BYTES + this.#opened(OUT + ENTRY_BYTES, made.entry.node, made.handle, made.entry.attributes);
      }
      case op.TMPFILE: {
        const made = files.tmpfile(node, b.readUInt32LE(BODY), b.readUInt32LE(BODY + 4), callerOf(b));
        this.#entry(made.entry, verdict);
        return ENTRY_BYTES + this.#opened(OUT + ENTRY_BYTES, made.entry.node, made.handle, made.entry.attributes);
      }
      case op.STATFS:
        return writeSpace(this.#out, OUT, files.statfs(node));
      case op.RELEASE:
        this.#release(node, this.#handles.take(b, BODY));
        return 0;
      case op.RELEASEDIR: {
        const handle = this.#handles.take(b, BODY);
        if (handle !== undefined) files.releasedir(handle);
        return 0;
      }
      case op.FLUSH:
        files.flush(this.#handles.file(b, BODY, node, flags.O_RDWR));
        return 0;
      case op.FSYNC:
        return this.#sync(b, this.#handles.file(b, BODY, node, flags.O_RDWR));
      case op.FSYNCDIR:
        return this.#sync(b, this.#handles.folder(b, BODY, node));
      case op.OPENDIR:
        return writeOpen(this.#out, OUT, files.opendir(node), this.#options.epoch, 0);
      case op.READDIR:
        return this.#readdir(b, node, { withEntries: false });
      case op.READDIRPLUS:
        return this.#readdir(b, node, { withEntries: true });
      case op.SETXATTR: {
        const name = readName(b, BODY + 8, length);
        const start = BODY + 8 + name.length + 1;
        const size = b.readUInt32LE(BODY);
        if (start + size > length) throw FileError.of(errors.EINVAL);
        return this.#once(b, errors.EEXIST, () => files.setxattr(node, name, b.subarray(start, start + size), b.readUInt32LE(BODY + 4)));
      }
      case op.GETXATTR:
        return this.#xattr(b.readUInt32LE(BODY), files.getxattr(node, readName(b, BODY + 8, length)));
      case op.LISTXATTR:
        return this.#xattr(b.readUInt32LE(BODY), files.listxattr(node));
      case op.REMOVEXATTR:
        return this.#once(b, errors.ENODATA, () => files.removexattr(node, readName(b, BODY, length)));
      case op.FALLOCATE: {
        const handle = this.#handles.file(b, BODY, node, flags.O_RDWR);
        files.fallocate(handle, b.readUInt32LE(BODY + 24), readUint64(b, BODY + 8), readUint64(b, BODY + 16));
        this.#cache.noteChange(node, handle);
        return 0;
      }
      case op.COPY_FILE_RANGE: {
        // The kernel then reads and writes, and mistakes can be made.
        if (verdict?.faults.some(({ io }) => io.effect?.$case === "mistake") === true) throw FileError.of(errors.EOPNOTSUPP);
        const from = this.#handles.file(b, BODY, node, flags.O_RDWR);
        const target = readNode(b, BODY + 16);
        const to = this.#handles.file(b, BODY + 24, target, flags.O_RDWR);
        const copied = files.copyFileRange(from, readUint64(b, BODY + 8), to, readUint64(b, BODY + 32), readUint64(b, BODY + 40));
        this.#cache.noteChange(target, to);
        return writeCount(this.#out, OUT, copied);
      }
      case op.LSEEK: {
        const handle = this.#handles.file(b, BODY, node, flags.O_RDWR);
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
        for (const held of interrupted) this.#letGo(held);
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
    if (this.#options.files.nodes.known(node) === undefined) this.#cache.forget(node);
  }

  #pin(b: Buffer, node: NodeId, handle: Handle): void {
    if (this.#pinned !== undefined || isDisguised(b, NODE_AT) || !this.#handles.isOwn(b, BODY)) return;
    this.#pinned = handle;
    this.#options.onPin(node);
  }

  /** Of an earlier server's handle that this one has never used there is nothing to release. */
  #release(node: NodeId, handle: Handle | undefined): void {
    if (handle === undefined) return;
    this.#cache.close(node, handle);
    if (this.#pinned === handle) {
      this.#pinned = undefined;
      this.#options.onPin(0);
    }
    this.#options.files.release(handle);
  }

  #read(b: Buffer, node: NodeId, verdict: Verdict | undefined): number {
    const handle = this.#handles.file(b, BODY, node, b.readUInt32LE(BODY + 32));
    this.#pin(b, node, handle);
    const size = Math.min(b.readUInt32LE(BODY + 16), MAX_WRITE);
    const start = readUint64(b, BODY + 8);
    const read = this.#options.files.read(handle, this.#out, OUT, size, start);
    if (verdict !== undefined) makeMistakes(this.#out.subarray(OUT, OUT + read), verdict, this.#options.random);
    this.#cache.noteRead(node, handle, { start, end: start + size });
    return read;
  }

  #write(b: Buffer, node: NodeId, length: number, verdict: Verdict | undefined): number {
    // Pages of a mapping are written back with the flags of no open file: 0, which is to read.
    const openFlags = b.readUInt32LE(BODY + 32) || flags.O_RDWR;
    const handle = this.#handles.file(b, BODY, node, openFlags);
    this.#pin(b, node, handle);
    const size = b.readUInt32LE(BODY + 16);
    if (BODY + 40 + size > length) throw FileError.of(errors.EINVAL);
    if (verdict !== undefined) makeMistakes(b.subarray(BODY + 40, BODY + 40 + size), verdict, this.#options.random);
    const start = readUint64(b, BODY + 8);
    const written = this.#options.files.write(handle, b, BODY + 40, size, start);
    if ((b.readUInt32LE(BODY + 20) & WRITE_KILL_SUIDGID) !== 0 && this.#hasPrivileges(node)) this.#killPrivileges(node, handle);
    this.#cache.noteWrite(node, handle, { start, end: start + size });
    return writeCount(this.#out, OUT, written);
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
    const handle = (valid & fattr.FH) === 0 ? undefined : this.#handles.file(b, BODY + 8, node, flags.O_RDWR);
    const found = this.#options.files.setattr(node, handle, changes);
    this.#cache.noteChange(node, handle);
    return this.#attributes(b, node, found, undefined);
  }

  /** What was made, or what an earlier server had made already when it ended. */
  #made(b: Buffer, parent: NodeId, name: Name, make: () => Entry): number {
    try {
      return this.#entry(make(), undefined);
    } catch (error) {
      if (!isAgain(b) || !(error instanceof FileError) || error.errno !== errors.EEXIST) throw error;
      return this.#entry(this.#options.files.lookup(parent, name), undefined);
    }
  }

  /** `done`: the error that says that an earlier server had done it already when it ended. */
  #once(b: Buffer, done: number, act: () => void): number {
    try {
      act();
    } catch (error) {
      if (!isAgain(b) || !(error instanceof FileError) || error.errno !== done) throw error;
    }
    return 0;
  }

  #rename(b: Buffer, parent: NodeId, start: number, length: number, how: number): number {
    const name = readName(b, start, length);
    const newName = readName(b, start + name.length + 1, length);
    this.#once(b, errors.ENOENT, () => this.#options.files.rename(parent, name, readNode(b, BODY), newName, how));
    this.#options.faults.epoch += 1; // paths have changed
    return 0;
  }

  #readdir(b: Buffer, node: NodeId, { withEntries }: { readonly withEntries: boolean }): number {
    const { files } = this.#options;
    const out = this.#out;
    const size = Math.min(b.readUInt32LE(BODY + 16), MAX_WRITE);
    const handle = this.#handles.folder(b, BODY, node);
    const entryBytes = withEntries ? ENTRY_BYTES : 0;
    let at = OUT;
    // Three quarters: an entry takes at most 8 bytes more here than from getdents64(2); one with what a look-up tells, six times as much.
    const bytesToRead = Math.floor(withEntries ? size / 6 : (size * 3) / 4);
    for (const entry of files.readdir(handle, b.readBigInt64LE(BODY + 8), bytesToRead)) {
      if (at + entryBytes + direntBytes(entry.name) > OUT + size) break;
      if (withEntries) this.#entryInFolder(at, node, entry.name);
      at += entryBytes;
      at += writeDirent(out, at, entry);
    }
    return at - OUT;
  }

  /** With a listing comes what a look-up would tell; where a fault might hit that, or the name is gone, the kernel asks for it by itself. */
  #entryInFolder(at: number, parent: NodeId, name: Name): void {
    const { files } = this.#options;
    const folder = files.nodes.known(parent);
    this.#out.fill(0, at, at + ENTRY_BYTES);
    if (folder === undefined || name === "." || name === ".." || !this.#byFile.keepsName(folder, name)) return;
    try {
      this.#writeEntry(at, files.lookup(parent, name), undefined);
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
    }
  }

  #xattr(asked: number, value: Buffer): number {
    if (asked === 0) return writeCount(this.#out, OUT, value.length);
    if (value.length > asked) throw FileError.of(errors.ERANGE);
    return value.copy(this.#out, OUT);
  }

  #ioctl(b: Buffer, node: NodeId, length: number): number {
    const inBytes = b.readUInt32LE(BODY + 24);
    const outBytes = b.readUInt32LE(BODY + 28);
    if (BODY + 32 + inBytes > length || Math.max(inBytes, outBytes) > 64) throw FileError.of(errors.ENOTTY);
    const argument = Buffer.alloc(Math.max(inBytes, outBytes));
    b.copy(argument, 0, BODY + 32, BODY + 32 + inBytes);
    this.#options.files.ioctl(this.#handles.file(b, BODY, node, flags.O_RDWR), b.readUInt32LE(BODY + 12), argument);
    this.#out.fill(0, OUT, OUT + 16);
    return 16 + argument.copy(this.#out, OUT + 16, 0, outBytes);
  }

  /** Takes long on a slow disk: others are served meanwhile. */
  #sync(b: Buffer, fd: Handle): number {
    const { files, nowMs, isAnyWaiting } = this.#options;
    const dataOnly = (b.readUInt32LE(BODY + 8) & FSYNC_DATA_ONLY) !== 0;
    const startMs = nowMs();
    const isQuick = this.#syncPace.isQuick(startMs) && !isAnyWaiting();
    const slot = isQuick ? undefined : this.#options.requests.beginSync(b);
    if (slot === undefined) {
      files.fsync(fd, dataOnly);
      this.#syncPace.note(startMs, nowMs());
      return 0;
    }
    const answer = Buffer.alloc(OUT);
    answer.writeUInt32LE(OUT, 0);
    copyUnique(b, answer);
    this.#options.onSync({ fd, dataOnly, answer, slot });
    return NOTHING;
  }

  #init(b: Buffer, length: number): number {
    const { isShared, libc, requests, onInit } = this.#options;
    const bytes = writeInit(this.#out, OUT, b, length, { isShared, pageBytes: libc.pageBytes });
    const answer = this.#out.subarray(OUT, OUT + bytes);
    this.#cache.agree(readFlags2(answer));
    requests.agree(answer);
    onInit(answer.toString("base64"));
    return bytes;
  }

  #entry(entry: Entry, verdict: Verdict | undefined): number {
    return this.#writeEntry(OUT, entry, verdict);
  }

  #writeEntry(at: number, entry: Entry, verdict: Verdict | undefined): number {
    const { node, attributes } = entry;
    const seconds = this.#cache.secondsOf(node);
    if (verdict === undefined) return writeEntry(this.#out, at, entry, { seconds, isDisguised: false });
    const told = overrideAttributes(attributes, verdict);
    // The root has no other number.
    if (node === ROOT) {
      const asItIs = { ...entry, attributes: withType(told, attributes.mode) };
      return writeEntry(this.#out, at, asItIs, { seconds, isDisguised: false });
    }
    const isDisguised = ((told.mode ^ attributes.mode) & modes.S_IFMT) !== 0;
    return writeEntry(this.#out, at, { ...entry, attributes: told }, { seconds, isDisguised });
  }

  #attributes(b: Buffer, node: NodeId, found: Attributes, verdict: Verdict | undefined): number {
    const seconds = this.#cache.secondsOf(node);
    if (verdict === undefined) return writeAttributesKept(this.#out, OUT, found, seconds);
    const told = overrideAttributes(found, verdict);
    // Of which type it is, the kernel knows from the look-up.
    return writeAttributesKept(this.#out, OUT, isDisguised(b, NODE_AT) ? told : withType(told, found.mode), seconds);
  }

  #opened(at: number, node: NodeId, handle: Handle, found: Attributes): number {
    return writeOpen(this.#out, at, handle, this.#options.epoch, this.#cache.open(node, handle, found));
  }
}

const latenciesOf = ({ faults }: Verdict): readonly CompiledFault[] => faults.filter(({ io }) => io.effect?.$case === "latency");

/** Why a request of this length cannot be understood; undefined for one that can. */
function errnoOf(request: Buffer, length: number): number | undefined {
  if (length < REQUEST_HEADER || request.readUInt32LE(0) !== length) return errors.EIO;
  const code = request.readUInt32LE(4);
  const leastBytes = operations.get(code)?.bytes ?? quietOperations.get(code);
  if (leastBytes === undefined) return errors.ENOSYS;
  return length - REQUEST_HEADER < leastBytes ? errors.EINVAL : undefined;
}

const nodeOf = (b: Buffer): NodeId => readNode(b, NODE_AT);
const callerOf = (b: Buffer): Caller => ({ uid: b.readUInt32LE(24), gid: b.readUInt32LE(28) });
/** Whether an earlier server has read it, too, and ended before it answered, or before it noted that. */
const isAgain = (b: Buffer): boolean => b.readUInt32LE(12) >= IS_AGAIN;
const uniqueHighOf = (b: Buffer): number => (b.readUInt32LE(12) & ~IS_AGAIN) >>> 0;

/** From the header of a request to that of its answer. */
function copyUnique(request: Buffer, answer: Buffer): void {
  answer.writeUInt32LE(request.readUInt32LE(8), 8);
  answer.writeUInt32LE(uniqueHighOf(request), 12);
}

function markAgain(request: Buffer): void {
  request.writeUInt32LE((request.readUInt32LE(12) | IS_AGAIN) >>> 0, 12);
}

/** Nobody waits for an answer to these. */
const unanswered: ReadonlySet<number> = new Set([op.FORGET, op.BATCH_FORGET, op.INTERRUPT, op.NOTIFY_REPLY]);

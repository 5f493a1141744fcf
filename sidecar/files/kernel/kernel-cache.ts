import type { Attributes, Handle, Name, NodeId } from "../file-operations.ts";
import type { CompiledFault, FaultLayer } from "../fault-layer.ts";
import type { NodeTable } from "../node-table.ts";
import { AbsentNames } from "./absent-names.ts";
import type { FaultsByFile } from "./faults-by-file.ts";
import { KeptData } from "./kept-data.ts";
import { ALL, type Locked, pagesWithin, without } from "./locks.ts";
import { type Bytes, canMapDirect, expireName, fopen, hasExpireOnly, invalidateNode } from "./protocol.ts";

export interface KernelCacheOptions {
  readonly nodes: NodeTable;
  readonly faults: FaultLayer;
  readonly byFile: FaultsByFile;
  /** Whether others than those who use this mount may change files. */
  readonly isShared: boolean;
  /** Whether an earlier server has served this mount: what the kernel keeps since then, nobody knows. */
  readonly isSuccessor: boolean;
  /** Has somebody else send messages to the kernel, which may wait for an answer of this process. Whether it is to say when they are sent: by `onSent`. */
  readonly onNotify: (messages: readonly Buffer[], how: { readonly isAwaited: boolean }) => void;
  /** What requests lock that are held back. */
  readonly held: () => Iterable<Locked>;
  /** Of a page of the kernel's cache. */
  readonly pageBytes: number;
  readonly nowMs: () => number;
}

/** Messages that have the kernel drop data of nodes, and perhaps names. */
interface UnderWay {
  readonly nodes: ReadonlySet<NodeId>;
  readonly hasNames: boolean;
  readonly onSent: (() => void)[];
}

/** How long the kernel may keep names and attributes, seconds. What changes goes through this server, but for other pods on a shared volume. */
export const KEEP_SECONDS = 1;
/** The kernel counts the time that it keeps something in ticks, of 10 ms at the most, and from when it has the answer. */
const TICK_MS = 100;

/** Says what the kernel may keep of files, so that it asks little and no fault goes unseen, and has it drop what is not so any more. */
export class KernelCache {
  readonly #options: KernelCacheOptions;
  /** Files whose data the kernel does not keep. */
  readonly #direct = new Set<Handle>();
  readonly #kept = new KeptData();
  readonly #absent = new AbsentNames({ keepMs: KEEP_SECONDS * 1000 + TICK_MS });
  /** What is not known to be dropped yet, the oldest messages in front. */
  readonly #underWay: UnderWay[] = [];
  #canExpire = false;
  #canMapDirect = false;

  constructor(options: KernelCacheOptions) {
    this.#options = options;
  }

  /** Takes what kernel and server have agreed on. */
  agree(flags2: number): void {
    this.#canExpire = hasExpireOnly(flags2);
    this.#canMapDirect = canMapDirect(flags2);
  }

  /** How long the kernel may keep a file's name and attributes, seconds. */
  secondsOf(node: NodeId): number {
    return this.#options.byFile.cacheRules(node).keepsNames ? KEEP_SECONDS : 0;
  }

  /** Whether the kernel may take a name for absent, without asking, for a while: others cannot make it appear, and no fault is to hit who looks for it. */
  keepsAbsent(parent: NodeId, name: Name): boolean {
    const { isShared, byFile, nodes, nowMs } = this.#options;
    if (isShared || !this.#canExpire || !byFile.keepsName(nodes.get(parent), name)) return false;
    return this.#absent.add(parent, name, nowMs());
  }

  /** Counts an open handle. Returns what the answer to OPEN says of the file's data. */
  open(node: NodeId, handle: Handle, found: Attributes): number {
    const { keepsData } = this.#options.byFile.cacheRules(node);
    if (keepsData || !this.#canMapDirect) return this.#kept.open(node, found) && keepsData ? fopen.KEEP_CACHE : 0;
    this.#direct.add(handle);
    return fopen.DIRECT_IO | fopen.PARALLEL_DIRECT_WRITES;
  }

  close(node: NodeId, handle: Handle): void {
    if (!this.#direct.delete(handle)) this.#kept.close(node);
  }

  /** The kernel does not know the node any more. */
  forget(node: NodeId): void {
    this.#kept.forget(node);
  }

  /** A file that was opened before a fault came, or that could not be mapped otherwise, is kept by the kernel: each time it has read data, it is told to forget them. */
  noteRead(node: NodeId, handle: Handle, bytes: Bytes): void {
    if (!this.#isKeptFromFaults(node, handle) || bytes.start === bytes.end) return;
    this.#drop(node, bytes);
  }

  /** The same of what is written to such a file: of a page that is written in part the kernel keeps nothing that it did not have, and locks it for the next write. */
  noteWrite(node: NodeId, handle: Handle, bytes: Bytes): void {
    const whole = pagesWithin(bytes, this.#options.pageBytes);
    if (this.#isKeptFromFaults(node, handle) && whole.start !== whole.end) this.#drop(node, whole);
    this.noteChange(node, handle, bytes);
  }

  #isKeptFromFaults(node: NodeId, handle: Handle): boolean {
    return !this.#options.faults.isIdle && !this.#direct.has(handle) && !this.#options.byFile.cacheRules(node).keepsData;
  }

  /** Has the kernel drop data, some time soon. */
  #drop(node: NodeId, bytes: Bytes): void {
    this.#options.onNotify([invalidateNode(node, bytes)], { isAwaited: false });
  }

  /** The same of what was left out when rules changed; what is held back now is left out once more. Awaited, as the next request will soon lock the same. */
  dropLeftOut(node: NodeId, bytes: Bytes): void {
    const free = without(bytes, pagesByNode(this.#options.held(), node).get(node));
    if (free.length === 0) return;
    this.#underWay.push({ nodes: new Set([node]), hasNames: false, onSent: [] });
    this.#options.onNotify(
      free.map((left) => invalidateNode(node, left)),
      { isAwaited: true },
    );
  }

  /**
   * Who reads a file that is kept while another one writes to it past the kernel's cache may have it keep what was there before: the kernel drops that
   * before the write, not after it. Which files were kept for an earlier server, nobody knows.
   */
  noteChange(node: NodeId, handle: Handle | undefined, bytes: Bytes = ALL): void {
    this.#kept.write(node);
    if (handle === undefined || !this.#direct.has(handle)) return;
    if (!this.#kept.isOpen(node) && !this.#options.isSuccessor) {
      this.#kept.forget(node); // before Linux 6.6 the kernel drops nothing by itself
      return;
    }
    // What is held back reads and writes after this change.
    for (const free of without(bytes, pagesByNode(this.#options.held(), node).get(node))) this.#drop(node, free);
  }

  /** The oldest messages that are awaited are sent. */
  onSent(): void {
    for (const call of this.#underWay.shift()?.onSent ?? []) call();
  }

  /** Whether messages that are under way would wait for the answer to a request that locks this: it must not be held back. */
  isWaitedFor(locked: Locked): boolean {
    return this.#underWay.some(({ nodes, hasNames }) => (locked.are === "pages" ? nodes.has(locked.node) : hasNames));
  }

  /**
   * Has the kernel drop what hides these faults, or that they are over, and calls back then. Not what is locked by requests that are held back: data are to be
   * dropped after their answers, and names are kept for a second at most. `isNew`: until then no request is held back that locks any of it.
   */
  invalidate(changed: readonly CompiledFault[], { isNew, onSent }: { readonly isNew: boolean; readonly onSent: () => void }): void {
    const messages = changed.length === 0 ? [] : this.#messagesFor(changed);
    if (messages.length === 0) {
      const last = this.#underWay.at(-1);
      if (last === undefined) onSent();
      else last.onSent.push(onSent);
      return;
    }
    const nodes = isNew ? messages.flatMap(({ node }) => node ?? []) : [];
    this.#underWay.push({
      nodes: new Set(nodes),
      hasNames: isNew && messages.some(({ node }) => node === undefined),
      onSent: [onSent],
    });
    this.#options.onNotify(
      messages.map(({ message }) => message),
      { isAwaited: true },
    );
  }

  /** `node`: whose data are dropped; undefined for a name. */
  #messagesFor(changed: readonly CompiledFault[]): readonly { readonly node?: NodeId; readonly message: Buffer }[] {
    const { nodes, byFile, isSuccessor, held } = this.#options;
    if (isSuccessor) nodes.scanOnce();
    const isHit = (path: Name): boolean => changed.some(({ matchesPath }) => matchesPath(path));
    const locked = [...held()];
    const lockedPages = pagesByNode(locked);
    const expires = this.#canExpire && !locked.some(({ are }) => are === "folders");
    const messages: { readonly node?: NodeId; readonly message: Buffer }[] = [];
    for (const node of nodes.all()) {
      if (!isHit(nodes.volumePath(node))) continue;
      for (const free of without(ALL, lockedPages.get(node.id))) messages.push({ node: node.id, message: invalidateNode(node.id, free) });
      if (expires && node.parent !== undefined && !node.isDetached) messages.push({ message: expireName(node.parent.id, node.name) });
    }
    for (const { parent, name } of expires ? this.#absent.all() : []) {
      const folder = nodes.known(parent);
      if (folder !== undefined && isHit(byFile.pathOf(folder, name))) messages.push({ message: expireName(parent, name) });
    }
    return messages;
  }
}

/** `of`: of this node alone. */
function pagesByNode(all: Iterable<Locked>, of?: NodeId): ReadonlyMap<NodeId, readonly Bytes[]> {
  const found = new Map<NodeId, Bytes[]>();
  for (const locked of all) {
    if (locked.are !== "pages" || (of !== undefined && locked.node !== of)) continue;
    const pages = found.get(locked.node);
    if (pages === undefined) found.set(locked.node, [locked.bytes]);
    else pages.push(locked.bytes);
  }
  return found;
}

import type { Attributes, Handle, Name, NodeId } from "../file-operations.ts";
import type { CompiledFault, FaultLayer } from "../fault-layer.ts";
import type { NodeTable } from "../node-table.ts";
import { AbsentNames } from "./absent-names.ts";
import type { FaultsByFile } from "./faults-by-file.ts";
import { KeptData } from "./kept-data.ts";
import { type Locked, lockedBy, without } from "./locks.ts";
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
  readonly nowMs: () => number;
}

/** What messages have the kernel drop: names in folders, and this much of the data of nodes. */
interface UnderWay {
  readonly folders: ReadonlySet<NodeId>;
  readonly nodes: ReadonlySet<NodeId>;
  readonly bytes: Bytes;
  readonly onSent: () => void;
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

  /** A file that was opened before a fault came, or that could not be mapped otherwise, is kept by the kernel: each time it has asked for data, it is told to forget them. */
  noteAsked(node: NodeId, handle: Handle, bytes: Bytes): void {
    const { faults, byFile, onNotify } = this.#options;
    if (bytes.start === bytes.end || faults.isIdle || this.#direct.has(handle) || byFile.cacheRules(node).keepsData) return;
    onNotify([invalidateNode(node, bytes)], { isAwaited: false });
  }

  /**
   * Who reads a file that is kept while another one writes to it past the kernel's cache may have it keep what was there before: the kernel drops that
   * before the write, not after it. Which files were kept for an earlier server, nobody knows.
   */
  noteChange(node: NodeId, handle: Handle | undefined, bytes: Bytes = ALL): void {
    const { isSuccessor, held, onNotify } = this.#options;
    this.#kept.write(node);
    if (handle === undefined || !this.#direct.has(handle)) return;
    if (!this.#kept.isOpen(node) && !isSuccessor) {
      this.#kept.forget(node); // before Linux 6.6 the kernel drops nothing by itself
      return;
    }
    const messages = without(bytes, pagesByNode(held()).get(node)).map((free) => invalidateNode(node, free));
    if (messages.length === 0) return;
    this.#underWay.push({ folders: new Set(), nodes: new Set([node]), bytes, onSent: () => undefined });
    onNotify(messages, { isAwaited: true });
  }

  /** The oldest messages that are awaited are sent. */
  onSent(): void {
    this.#underWay.shift()?.onSent();
  }

  /** Whether messages that are under way would wait for the answer to a request: it must not be held back. */
  isWaitedFor(request: Buffer): boolean {
    if (this.#underWay.length === 0) return false;
    const { pages, folders } = lockedBy(request);
    return this.#underWay.some(
      (dropped) =>
        folders.some((folder) => dropped.folders.has(folder)) ||
        (pages !== undefined && dropped.nodes.has(pages.node) && pages.start < dropped.bytes.end && dropped.bytes.start < pages.end),
    );
  }

  /**
   * Has the kernel drop what hides these faults, or that they are over, and calls back then. Not what is locked by requests that are held back: their answers
   * see to data, and names are kept for a second at most.
   */
  invalidate(changed: readonly CompiledFault[], onSent: () => void): void {
    const { nodes, byFile, isSuccessor, held, onNotify } = this.#options;
    if (isSuccessor && changed.length > 0) nodes.scanOnce();
    const isHit = (path: Name): boolean => changed.some(({ matchesPath }) => matchesPath(path));
    const locked = [...held()];
    const lockedPages = pagesByNode(locked);
    const lockedFolders = new Set(locked.flatMap(({ folders }) => folders));
    const dropped = { folders: new Set<NodeId>(), nodes: new Set<NodeId>(), bytes: ALL, onSent };
    const messages: Buffer[] = [];
    const expire = (parent: NodeId, name: Name): void => {
      if (!this.#canExpire || lockedFolders.has(parent)) return;
      messages.push(expireName(parent, name));
      dropped.folders.add(parent);
    };
    for (const node of changed.length === 0 ? [] : nodes.all()) {
      if (!isHit(nodes.volumePath(node))) continue;
      messages.push(...without(ALL, lockedPages.get(node.id)).map((free) => invalidateNode(node.id, free)));
      dropped.nodes.add(node.id);
      if (node.parent !== undefined && !node.isDetached) expire(node.parent.id, node.name);
    }
    for (const { parent, name } of this.#absent.all()) {
      const folder = nodes.known(parent);
      if (folder !== undefined && isHit(byFile.pathOf(folder, name))) expire(parent, name);
    }
    if (messages.length === 0) return onSent();
    this.#underWay.push(dropped);
    onNotify(messages, { isAwaited: true });
  }
}

/** A file from its start to its end. */
const ALL: Bytes = { start: 0, end: Infinity };

function pagesByNode(locked: Iterable<Locked>): ReadonlyMap<NodeId, readonly Bytes[]> {
  const found = new Map<NodeId, Bytes[]>();
  for (const { pages } of locked) if (pages !== undefined) found.set(pages.node, [...(found.get(pages.node) ?? []), pages]);
  return found;
}

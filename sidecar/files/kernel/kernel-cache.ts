import type { Attributes, Handle, Name, NodeId } from "../file-operations.ts";
import type { CompiledFault, FaultLayer } from "../fault-layer.ts";
import type { NodeTable } from "../node-table.ts";
import { AbsentNames } from "./absent-names.ts";
import type { FaultsByFile } from "./faults-by-file.ts";
import { KeptData } from "./kept-data.ts";
import { canMapDirect, expireName, fopen, hasExpireOnly, invalidateNode } from "./protocol.ts";

export interface KernelCacheOptions {
  readonly nodes: NodeTable;
  readonly faults: FaultLayer;
  readonly byFile: FaultsByFile;
  /** Whether others than those who use this mount may change files. */
  readonly isShared: boolean;
  /** Whether an earlier server has served this mount: what the kernel keeps since then, nobody knows. */
  readonly isSuccessor: boolean;
  /** Sends messages to the kernel from another thread: the kernel may wait for an answer of this one. */
  readonly onNotify: (messages: readonly Buffer[]) => void;
  readonly nowMs: () => number;
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
  noteAsked(node: NodeId, handle: Handle): void {
    const { faults, byFile, onNotify } = this.#options;
    if (faults.isIdle || this.#direct.has(handle) || byFile.cacheRules(node).keepsData) return;
    onNotify([invalidateNode(node)]);
  }

  /**
   * Who reads a file that is kept while another one writes to it past the kernel's cache may have it keep what was there before: the kernel drops that
   * before the write, not after it. Which files were kept for an earlier server, nobody knows.
   */
  noteChange(node: NodeId, handle: Handle | undefined): void {
    this.#kept.write(node);
    if (handle === undefined || !this.#direct.has(handle)) return;
    if (this.#kept.isOpen(node) || this.#options.isSuccessor) this.#options.onNotify([invalidateNode(node)]);
    else this.#kept.forget(node); // before Linux 6.6 the kernel drops nothing by itself
  }

  /** What the kernel must drop, so that these faults are seen from now on, or no longer. */
  invalidate(changed: readonly CompiledFault[]): readonly Buffer[] {
    if (changed.length === 0) return [];
    const { nodes, byFile, isSuccessor } = this.#options;
    if (isSuccessor) nodes.scanOnce();
    const isHit = (path: Name): boolean => changed.some(({ matchesPath }) => matchesPath(path));
    const messages: Buffer[] = [];
    for (const node of nodes.all()) {
      if (!isHit(nodes.volumePath(node))) continue;
      messages.push(invalidateNode(node.id));
      if (node.parent !== undefined && !node.isDetached && this.#canExpire) messages.push(expireName(node.parent.id, node.name));
    }
    for (const { parent, name } of this.#absent.all()) {
      const folder = nodes.known(parent);
      if (folder !== undefined && isHit(byFile.pathOf(folder, name))) messages.push(expireName(parent, name));
    }
    return messages;
  }
}

import { FileError, type FileOperations, type Handle, type Name, type NodeId, ROOT } from "../file-operations.ts";
import { errors } from "../libc.ts";

/** Nodes that are remembered although no file of them is open: each folder among them may cost a descriptor. */
const MOST_KEPT = 4_096;

/** What libfuse renames a file to that is to go while it is open. */
const HIDDEN = /^\.fuse_hidden[0-9a-f]{16}$/;

/** Finds nodes by their paths, as libfuse names them: `/` or `/a/b`. Looks each part up anew, so that what is changed elsewhere is seen. */
export class PathNodes {
  readonly #files: FileOperations;
  /** How often each was looked up, those used last at the end. */
  readonly #lookups = new Map<NodeId, number>();
  readonly #open = new Map<Handle, NodeId>();
  /** How often each is open or hidden: these are not forgotten. */
  readonly #uses = new Map<NodeId, number>();
  /** To be forgotten once they are not used any more: what they held is free then. */
  readonly #gone = new Set<NodeId>();
  /** Files without a name that are open: libfuse goes on to call them by the name that it hid them under. */
  readonly #hidden = new Map<Name, { readonly node: NodeId; readonly path: Name }>();

  constructor(files: FileOperations) {
    this.#files = files;
  }

  /** Throws ENOENT and whatever else keeps one from getting there. */
  nodeAt(path: Name): NodeId {
    const hidden = this.#hidden.get(baseOf(path));
    if (hidden !== undefined) return hidden.node;
    let node: NodeId = ROOT;
    for (const part of path.split("/")) if (part !== "") node = this.#lookup(node, part);
    return node;
  }

  /** The folder of a path, and the name in it. */
  placeOf(path: Name): { readonly parent: NodeId; readonly name: Name } {
    const slash = path.lastIndexOf("/");
    if (slash === path.length - 1) throw FileError.of(errors.EINVAL);
    return { parent: this.nodeAt(path.slice(0, slash)), name: path.slice(slash + 1) };
  }

  /** Takes over a node that was just made, which counts as found. */
  note(node: NodeId): void {
    const times = this.#lookups.get(node) ?? 0;
    this.#lookups.delete(node);
    this.#lookups.set(node, times + 1);
  }

  opened(handle: Handle, node: NodeId): void {
    this.#open.set(handle, node);
    this.#use(node);
  }

  closed(handle: Handle): void {
    const node = this.#open.get(handle);
    if (node === undefined) return;
    this.#open.delete(handle);
    this.#unuse(node);
  }

  /** What has a path; undefined where nothing has it. */
  find(path: Name): NodeId | undefined {
    try {
      return this.nodeAt(path);
    } catch (error) {
      if (error instanceof FileError && error.errno === errors.ENOENT) return undefined;
      throw error;
    }
  }

  /** A name of this node was removed, perhaps its last one. */
  unlinked(node: NodeId): void {
    this.#gone.add(node);
    this.#forgetUnused(node);
  }

  nodeOf(handle: Handle): NodeId {
    const node = this.#open.get(handle);
    if (node === undefined) throw FileError.of(errors.EBADF);
    return node;
  }

  /** Remembers a file by the name that libfuse hides it under. */
  hide(path: Name, hiddenPath: Name): void {
    const node = this.nodeAt(path);
    this.#hidden.set(baseOf(hiddenPath), { node, path });
    this.#use(node);
  }

  /** The last one has closed it. False: it never was hidden. */
  unhide(hiddenPath: Name): boolean {
    const hidden = this.#hidden.get(baseOf(hiddenPath));
    if (hidden === undefined) return false;
    this.#hidden.delete(baseOf(hiddenPath));
    this.#unuse(hidden.node);
    return true;
  }

  /** As the application knows it. */
  visible(path: Name): Name {
    return this.#hidden.get(baseOf(path))?.path ?? path;
  }

  /** Forgets what was not used for long. Between two operations. */
  trim(): void {
    if (this.#lookups.size <= MOST_KEPT) return;
    for (const node of this.#lookups.keys()) {
      if (this.#lookups.size <= MOST_KEPT / 2) return;
      this.#forgetUnused(node);
    }
  }

  #use(node: NodeId): void {
    this.#uses.set(node, (this.#uses.get(node) ?? 0) + 1);
  }

  #unuse(node: NodeId): void {
    const left = (this.#uses.get(node) ?? 1) - 1;
    if (left > 0) {
      this.#uses.set(node, left);
      return;
    }
    this.#uses.delete(node);
    if (this.#gone.has(node)) this.#forgetUnused(node);
  }

  #forgetUnused(node: NodeId): void {
    if (this.#uses.has(node)) return;
    this.#gone.delete(node);
    const times = this.#lookups.get(node);
    if (times === undefined) return;
    this.#lookups.delete(node);
    this.#files.forget(node, times);
  }

  #lookup(parent: NodeId, name: Name): NodeId {
    const { node } = this.#files.lookup(parent, name);
    this.note(node);
    return node;
  }
}

export const isHidden = (path: Name): boolean => HIDDEN.test(baseOf(path));

const baseOf = (path: Name): Name => path.slice(path.lastIndexOf("/") + 1);

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
  }

  closed(handle: Handle): void {
    this.#open.delete(handle);
  }

  nodeOf(handle: Handle): NodeId {
    const node = this.#open.get(handle);
    if (node === undefined) throw FileError.of(errors.EBADF);
    return node;
  }

  /** Remembers a file by the name that libfuse hides it under. */
  hide(path: Name, hiddenPath: Name): void {
    this.#hidden.set(baseOf(hiddenPath), { node: this.nodeAt(path), path });
  }

  /** The last one has closed it. False: it never was hidden. */
  unhide(hiddenPath: Name): boolean {
    return this.#hidden.delete(baseOf(hiddenPath));
  }

  /** As the application knows it. */
  visible(path: Name): Name {
    return this.#hidden.get(baseOf(path))?.path ?? path;
  }

  /** Forgets what was not used for long. Between two operations. */
  trim(): void {
    if (this.#lookups.size <= MOST_KEPT) return;
    const used = new Set([...this.#open.values(), ...[...this.#hidden.values()].map(({ node }) => node)]);
    for (const [node, times] of this.#lookups) {
      if (this.#lookups.size <= MOST_KEPT / 2) return;
      if (used.has(node)) continue;
      this.#lookups.delete(node);
      this.#files.forget(node, times);
    }
  }

  #lookup(parent: NodeId, name: Name): NodeId {
    const { node } = this.#files.lookup(parent, name);
    this.note(node);
    return node;
  }
}

export const isHidden = (path: Name): boolean => HIDDEN.test(baseOf(path));

const baseOf = (path: Name): Name => path.slice(path.lastIndexOf("/") + 1);

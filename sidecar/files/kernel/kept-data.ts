import type { Attributes, NodeId } from "../file-operations.ts";

interface KeptFile {
  /** Open handles through which the kernel keeps data. */
  opens: number;
  /** When it was last changed, as of the last open. */
  mtime: number;
  mtimeNs: number;
  /** Whether this server has changed it since. */
  isWritten: boolean;
}

/** What the kernel may have of the data of files in its cache, and whether that can still be true. */
export class KeptData {
  readonly #files = new Map<NodeId, KeptFile>();

  /** Counts an open handle, and tells whether nobody but this server has changed the file since the one before. */
  open(node: NodeId, { mtime, mtimeNs }: Pick<Attributes, "mtime" | "mtimeNs">): boolean {
    const file = this.#files.get(node);
    if (file === undefined) {
      this.#files.set(node, { opens: 1, mtime, mtimeNs, isWritten: false });
      return false;
    }
    const isTrue = file.isWritten || (file.mtime === mtime && file.mtimeNs === mtimeNs);
    file.opens += 1;
    file.mtime = mtime;
    file.mtimeNs = mtimeNs;
    file.isWritten = false;
    return isTrue;
  }

  close(node: NodeId): void {
    const file = this.#files.get(node);
    if (file !== undefined && file.opens > 0) file.opens -= 1;
  }

  /** This server has changed the file. */
  write(node: NodeId): void {
    const file = this.#files.get(node);
    if (file !== undefined) file.isWritten = true;
  }

  isOpen(node: NodeId): boolean {
    return (this.#files.get(node)?.opens ?? 0) > 0;
  }

  forget(node: NodeId): void {
    this.#files.delete(node);
  }
}

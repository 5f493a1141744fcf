import { FileError, type Handle, type NodeId } from "../file-operations.ts";
import { flags } from "../libc.ts";
import type { Passthrough } from "../passthrough.ts";

export interface HandlesOptions {
  readonly files: Passthrough;
  /** Tells handles of this server from those of earlier ones. */
  readonly epoch: number;
}

/** Handles as the kernel names them: a descriptor and the epoch of the server that opened it. What an earlier server had open is opened again when it is used. */
export class Handles {
  readonly #files: Passthrough;
  readonly #epoch: number;
  readonly #reopened = new Map<string, Handle>();

  constructor({ files, epoch }: HandlesOptions) {
    this.#files = files;
    this.#epoch = epoch;
  }

  isOwn(request: Buffer, at: number): boolean {
    return request.readUInt32LE(at + 4) === this.#epoch;
  }

  /** A file's. The flags are those that it was opened with, as far as the request tells. Throws what opening it anew throws. */
  file(request: Buffer, at: number, node: NodeId, openFlags: number): Handle {
    return this.#own(request, at) ?? this.#again(request, at, () => this.#reopen(node, openFlags & ~flags.O_TRUNC));
  }

  /** A folder's. */
  folder(request: Buffer, at: number, node: NodeId): Handle {
    return this.#own(request, at) ?? this.#again(request, at, () => this.#files.opendir(node));
  }

  /** Gives a handle up. Undefined: an earlier server's, that this one has never used. */
  take(request: Buffer, at: number): Handle | undefined {
    const own = this.#own(request, at);
    if (own !== undefined) return own;
    const key = keyOf(request, at);
    const handle = this.#reopened.get(key);
    this.#reopened.delete(key);
    return handle;
  }

  #own(request: Buffer, at: number): Handle | undefined {
    return this.isOwn(request, at) ? request.readUInt32LE(at) : undefined;
  }

  #again(request: Buffer, at: number, open: () => Handle): Handle {
    const key = keyOf(request, at);
    const known = this.#reopened.get(key);
    if (known !== undefined) return known;
    const handle = open();
    this.#reopened.set(key, handle);
    return handle;
  }

  #reopen(node: NodeId, openFlags: number): Handle {
    try {
      return this.#files.open(node, openFlags);
    } catch (error) {
      if (!(error instanceof FileError) || openFlags !== flags.O_RDWR) throw error;
      return this.#files.open(node, 0); // a file that cannot be written, such as a running program
    }
  }
}

const keyOf = (request: Buffer, at: number): string => `${request.readUInt32LE(at + 4)}:${request.readUInt32LE(at)}`;

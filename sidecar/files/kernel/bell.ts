import type { NodeId } from "../file-operations.ts";

/**
 * Whether there is mail for the serving thread, and how it is woken. Sleeping in read(2) of /dev/fuse, without poll(2) before, saves a system call for
 * each request, but only a request ends it. One comes when the kernel is asked for data of an inode that it has (FUSE_NOTIFY_RETRIEVE), and it has
 * those of open files. Each side writes its own part before it reads the other's, so that mail and sleep cannot miss each other.
 */
export class Bell {
  readonly memory: SharedArrayBuffer;
  /** 0: there is mail; 1 and 2: the node, in halves. */
  readonly #words: Int32Array;

  constructor(memory = new SharedArrayBuffer(12)) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
  }

  /** Mail was posted. Returns the node to ask the kernel for; 0 for none: the thread is not asleep in read(2). */
  ring(): NodeId {
    Atomics.store(this.#words, 0, 1);
    return Atomics.load(this.#words, 2) * 2 ** 32 + (Atomics.load(this.#words, 1) >>> 0);
  }

  /** Whether there was mail since it was last asked. */
  hasRung(): boolean {
    return Atomics.load(this.#words, 0) !== 0 && Atomics.exchange(this.#words, 0, 0) !== 0;
  }

  /** From now on the thread may sleep in read(2), and is woken by this node; 0: it must not. */
  hang(node: NodeId): void {
    Atomics.store(this.#words, 2, Math.floor(node / 2 ** 32));
    Atomics.store(this.#words, 1, node | 0);
  }
}

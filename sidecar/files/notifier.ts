import { write } from "node:fs";
import { promisify } from "node:util";

const writeAsync = promisify(write);

/**
 * Sends to the kernel what the server of a volume wants it to drop, from another process: the kernel waits for answers of that server meanwhile, and were it
 * killed then, nobody could follow it.
 */
export class Notifier {
  readonly #fuse: number;
  #soon: Promise<void> = Promise.resolve();
  #now: Promise<void> = Promise.resolve();
  #isClosed = false;
  #written = 0;

  /** `fuse`: descriptor of /dev/fuse. It stays the caller's, and open until this one is closed. */
  constructor(fuse: number) {
    this.#fuse = fuse;
  }

  /** How many messages that are awaited were sent so far. */
  get written(): number {
    return this.#written;
  }

  /** The server ended: what still waits for it keeps nothing of the next one waiting. */
  startOver(): void {
    this.#now = Promise.resolve();
  }

  /** Resolves once these are sent, and all before them that were awaited as these are. Never rejects. They are as in a `notify` of server-messages.ts. */
  send(messages: Uint8Array, { isAwaited }: { readonly isAwaited: boolean }): Promise<void> {
    // Two queues: what nobody awaits may wait for a request that is held back.
    if (!isAwaited) return (this.#soon = this.#soon.then(() => this.#write(messages)));
    const onWritten = (): void => void (this.#written += 1);
    return (this.#now = this.#now.then(() => this.#write(messages, onWritten)));
  }

  /** Resolves once nothing is sent any more. To be called while the volume is served: the kernel may wait for its server. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([this.#now, this.#soon]);
  }

  async #write(messages: Uint8Array, onWritten = (): void => undefined): Promise<void> {
    const all = Buffer.from(messages.buffer, messages.byteOffset, messages.byteLength);
    for (let at = 0; at < all.length && !this.#isClosed; at += all.readUInt32LE(at)) {
      await writeAsync(this.#fuse, all, at, all.readUInt32LE(at)).catch(() => undefined); // the kernel does not have that node or name any more
      onWritten();
    }
  }
}

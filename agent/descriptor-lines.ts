import { setTimeout as sleep } from "node:timers/promises";
import { closeAll, type Descriptor, type DescriptorSockets } from "./descriptors.ts";
import { HandOverError, LONGEST_LINE_BYTES } from "./hand-over.ts";

/** The kernel wakes nobody for descriptors that Node does not read, so who waits for some looks again: soon, later less often. */
const LOOK_AGAIN_MS = { first: 2, most: 50 } as const;

/** What arrived with what was said. They belong to whoever takes them. */
export interface Line<T> {
  readonly said: T;
  readonly descriptors: readonly Descriptor[];
}

export interface LineReading<T> {
  readonly socket: number;
  /** Throws HandOverError for what it should not be. */
  readonly parse: (line: string) => T;
  readonly descriptorsWith: (said: T) => number;
}

/**
 * Reads lines with descriptors from a socket that nobody else reads from. `close` closes the descriptors that were not taken; the socket is its
 * owner's to close.
 */
export class LineReader<T> {
  readonly #sockets: DescriptorSockets;
  readonly #reading: LineReading<T>;
  #bytes: Buffer = Buffer.alloc(0);
  #descriptors: readonly Descriptor[] = [];
  #isAtEnd = false;

  constructor(sockets: DescriptorSockets, reading: LineReading<T>) {
    this.#sockets = sockets;
    this.#reading = reading;
  }

  /** The next line; undefined at the end of the stream. Throws HandOverError for a bad one, and the signal's reason once it is aborted. */
  async next(signal: AbortSignal): Promise<Line<T> | undefined> {
    for (let waitMs: number = LOOK_AGAIN_MS.first; ; waitMs = Math.min(waitMs * 1.5, LOOK_AGAIN_MS.most)) {
      signal.throwIfAborted();
      while (this.#receive()) waitMs = LOOK_AGAIN_MS.first;
      const line = this.#takeLine();
      if (line !== undefined) return line;
      if (this.#isAtEnd) return undefined;
      await sleep(waitMs, undefined, { signal });
    }
  }

  close(): void {
    closeAll(this.#descriptors);
    this.#descriptors = [];
  }

  /** Whether something arrived. No more is taken in than a line may have. */
  #receive(): boolean {
    if (this.#isAtEnd || this.#bytes.includes("\n")) return false;
    if (this.#bytes.length > LONGEST_LINE_BYTES) throw new HandOverError(`A line is longer than ${LONGEST_LINE_BYTES} bytes.`);
    const received = this.#sockets.receive(this.#reading.socket);
    if (received === undefined) return false;
    if (received.bytes.length === 0) this.#isAtEnd = true;
    this.#bytes = Buffer.concat([this.#bytes, received.bytes]);
    this.#descriptors = [...this.#descriptors, ...received.descriptors];
    return !this.#isAtEnd;
  }

  #takeLine(): Line<T> | undefined {
    const end = this.#bytes.indexOf("\n");
    if (end < 0) return undefined;
    const said = this.#reading.parse(this.#bytes.toString("utf8", 0, end));
    this.#bytes = this.#bytes.subarray(end + 1);
    const count = this.#reading.descriptorsWith(said);
    // The kernel hands them out with the first byte that they were sent with, in their order.
    if (this.#descriptors.length < count)
      throw new HandOverError(`${count} descriptors should have come with a line, and ${this.#descriptors.length} did.`);
    const descriptors = this.#descriptors.slice(0, count);
    this.#descriptors = this.#descriptors.slice(count);
    return { said, descriptors };
  }
}

/** Sends a line with descriptors, which stay open here. The socket must be non-blocking, and nobody else may write to it meanwhile. */
export async function sendLine(
  sockets: DescriptorSockets,
  {
    socket,
    line,
    descriptors = [],
    signal,
  }: { readonly socket: number; readonly line: string; readonly descriptors?: readonly Descriptor[]; readonly signal: AbortSignal },
): Promise<void> {
  let rest = Buffer.from(line);
  let left = descriptors;
  while (rest.length > 0) {
    signal.throwIfAborted();
    const sent = sockets.send(socket, rest, left);
    if (sent > 0) left = [];
    rest = rest.subarray(sent);
    if (rest.length > 0) await sleep(LOOK_AGAIN_MS.first, undefined, { signal });
  }
}

import type { Socket } from "node:net";
import { LineReader, sendLine } from "../../agent/descriptor-lines.ts";
import type { Descriptor, DescriptorSockets } from "../../agent/descriptors.ts";
import { descriptorsWith, type FromDaemon, type FromSidecar, HandOverError, parseDaemonLine, renderLine } from "../../agent/hand-over.ts";

export interface DaemonConversationOptions {
  readonly sockets: DescriptorSockets;
  readonly hello: Extract<FromSidecar, { say: "hello" }>;
  /** Of the volumes that are held, in their order. They stay the caller's. */
  readonly descriptors: readonly Descriptor[];
  /** Volumes that the daemon is to answer for. */
  readonly missing: readonly string[];
  /** Once for each missing volume. The descriptors are the callee's. */
  readonly onAnswer: (said: FromDaemon, descriptors: readonly Descriptor[]) => void;
  readonly onEnd: (error: Error | undefined) => void;
}

/** One connection of the daemon, from its accept to its end. */
export class DaemonConversation {
  readonly #socket: Socket;
  readonly #options: DaemonConversationOptions;
  readonly #ending = new AbortController();
  /** Until the daemon has answered for all volumes, nothing may be written by Node: descriptors go past it. */
  readonly #unsaid: string[] = [];
  #isNodes = false;

  /** `socket` must be paused, and is closed with the conversation. */
  constructor(socket: Socket, options: DaemonConversationOptions) {
    this.#socket = socket;
    this.#options = options;
  }

  start(): void {
    this.#socket.on("error", () => undefined); // its close follows
    this.#socket.once("close", () => this.close());
    this.#talk().catch((error: unknown) => this.#end(error instanceof Error ? error : new Error(String(error))));
  }

  say(said: FromSidecar): void {
    if (this.#ending.signal.aborted) return;
    if (this.#isNodes) this.#socket.write(renderLine(said));
    else this.#unsaid.push(renderLine(said));
  }

  close(): void {
    this.#end(undefined);
  }

  async #talk(): Promise<void> {
    const { sockets, hello, descriptors } = this.#options;
    const socket = numberOf(this.#socket);
    const { signal } = this.#ending;
    await sendLine(sockets, { socket, line: renderLine(hello), descriptors, signal });
    await this.#hear(socket);
    this.#isNodes = true;
    for (const line of this.#unsaid.splice(0)) this.#socket.write(line);
    // Nothing more is expected but its end.
    this.#socket.once("data", () => this.#end(new HandOverError("The daemon said more than it was asked.")));
    this.#socket.resume();
  }

  async #hear(socket: number): Promise<void> {
    const { sockets, missing, onAnswer } = this.#options;
    const { signal } = this.#ending;
    const left = new Set(missing);
    const reader = new LineReader<FromDaemon>(sockets, { socket, parse: parseDaemonLine, descriptorsWith });
    try {
      while (left.size > 0) {
        const line = await reader.next(signal);
        if (line === undefined) throw new HandOverError(`The daemon ended the connection and left out: ${[...left].join(", ")}.`);
        if (!left.delete(line.said.name)) {
          for (const descriptor of line.descriptors) descriptor.close();
          throw new HandOverError(`The daemon answered for volume ${line.said.name}, which it was not asked for.`);
        }
        onAnswer(line.said, line.descriptors);
      }
    } finally {
      reader.close();
    }
  }

  #end(error: Error | undefined): void {
    if (this.#ending.signal.aborted) return;
    this.#ending.abort(new Error("The conversation with the daemon ended."));
    this.#socket.destroy();
    this.#options.onEnd(error);
  }
}

/** Node has no public name for the descriptor of a socket. */
function numberOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, "_handle");
  const number: unknown = typeof handle === "object" && handle !== null ? Reflect.get(handle, "fd") : undefined;
  if (typeof number !== "number" || number < 0) throw new Error("A socket has no descriptor.");
  return number;
}

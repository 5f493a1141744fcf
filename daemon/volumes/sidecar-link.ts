import { Socket } from "node:net";
import { LineReader, sendLine } from "../../agent/descriptor-lines.ts";
import { closeAll, type Descriptor, type DescriptorSockets } from "../../agent/descriptors.ts";
import {
  descriptorsWith,
  type FromDaemon,
  type FromSidecar,
  HandOverError,
  LONGEST_LINE_BYTES,
  parseSidecarLine,
  renderLine,
} from "../../agent/hand-over.ts";
import type { PodFolders } from "./pod-folders.ts";
import type { PodMembers } from "./pod-members.ts";

export type Hello = Extract<FromSidecar, { say: "hello" }>;

export interface SidecarLinkOptions {
  readonly podUid: string;
  readonly folders: Pick<PodFolders, "openSocket">;
  readonly members: Pick<PodMembers, "isMember">;
  readonly sockets: DescriptorSockets;
}

/** Nobody listens on the socket of the pod, so no sidecar holds anything. */
export class NobodyListensError extends Error {
  override readonly name = "NobodyListensError";
}

/** The sidecar ended the connection before it said anything: it ends, or has just begun. */
export class EarlyEndError extends Error {
  override readonly name = "EarlyEndError";
}

/** A connection to the sidecar of a pod, which has said hello. */
export interface SidecarLink {
  readonly hello: Hello;
  /** The sidecar's process, as the node counts them. */
  readonly pid: number;
  /** Of the volumes that the sidecar holds, in their order. They are the caller's to close. */
  readonly descriptors: readonly Descriptor[];
  /** The descriptors stay open here. */
  say(said: FromDaemon, descriptors: readonly Descriptor[]): Promise<void>;
  /** Hears the sidecar from now on. Nothing can be said any more. `onEnd` is called once, unless it was closed. */
  listen(callbacks: { readonly onServing: (name: string, init: string) => void; readonly onEnd: (error: Error | undefined) => void }): void;
  close(): void;
}

const HELLO_TIMEOUT_MS = 5000;
const SEND_TIMEOUT_MS = 5000;

/** Connects. Throws NobodyListensError, EarlyEndError, and HandOverError for a listener that is not what it should be. */
export async function linkSidecar({ podUid, folders, members, sockets }: SidecarLinkOptions): Promise<SidecarLink> {
  const socket = connect(podUid, { folders, sockets });
  const reader = new LineReader<FromSidecar>(sockets, { socket: socket.number, parse: parseSidecarLine, descriptorsWith });
  try {
    const { pid } = sockets.peerOf(socket.number);
    if (!members.isMember(pid, podUid))
      throw new HandOverError(`Process ${pid} listens on the socket of pod ${podUid}, and is none of that pod.`);
    const line = await reader.next(AbortSignal.timeout(HELLO_TIMEOUT_MS)).catch((error: unknown) => {
      if (isCode(error, "ECONNRESET")) return undefined;
      throw error;
    });
    if (line === undefined) throw new EarlyEndError("The sidecar ended the connection before it said anything.");
    if (line.said.say !== "hello" || line.said.podUid !== podUid) {
      closeAll(line.descriptors);
      throw new HandOverError(`The sidecar of pod ${podUid} did not say that it is that.`);
    }
    return createLink(socket, sockets, { pid, hello: line.said, descriptors: line.descriptors });
  } catch (error) {
    socket.close();
    throw error;
  } finally {
    reader.close();
  }
}

const isCode = (error: unknown, code: string): boolean => error instanceof Error && "code" in error && error.code === code;

function connect(podUid: string, { folders, sockets }: Pick<SidecarLinkOptions, "folders" | "sockets">): Descriptor {
  const place = folders.openSocket(podUid);
  if (place === undefined) throw new NobodyListensError(`Pod ${podUid} has no socket of a sidecar.`);
  try {
    // Through its descriptor: whatever the pod puts in its place, this is the one that was looked at. It also is a short path.
    return sockets.connect(`/proc/self/fd/${place.number}`);
  } catch (error) {
    if (isCode(error, "ECONNREFUSED")) throw new NobodyListensError(`Nobody listens on the socket of pod ${podUid}.`, { cause: error });
    throw error;
  } finally {
    place.close();
  }
}

function createLink(
  descriptor: Descriptor,
  sockets: DescriptorSockets,
  said: Pick<SidecarLink, "hello" | "pid" | "descriptors">,
): SidecarLink {
  let isClosed = false;
  /** Once it is Node's, which closes the descriptor. */
  let socket: Socket | undefined;
  function close(): void {
    if (isClosed) return;
    isClosed = true;
    if (socket === undefined) descriptor.close();
    else socket.destroy();
  }

  return {
    ...said,
    async say(what, sent) {
      if (isClosed || socket !== undefined) throw new HandOverError("Nothing can be said to this sidecar any more.");
      const signal = AbortSignal.timeout(SEND_TIMEOUT_MS);
      await sendLine(sockets, { socket: descriptor.number, line: renderLine(what), descriptors: sent, signal });
    },
    listen({ onServing, onEnd }) {
      if (isClosed || socket !== undefined) return;
      const own = new Socket({ fd: descriptor.number, readable: true, writable: true });
      socket = own;
      let text = "";
      const end = (error: Error | undefined): void => {
        if (isClosed) return;
        close();
        onEnd(error);
      };
      const hear = (line: string): void => {
        const said = parseSidecarLine(line);
        if (said.say !== "serving") throw new HandOverError("The sidecar said hello twice.");
        onServing(said.name, said.init);
      };
      own.setEncoding("utf8");
      own.on("data", (more: string) => {
        try {
          const lines = `${text}${more}`.split("\n");
          text = lines.pop() ?? "";
          for (const line of lines) hear(line);
          if (text.length > LONGEST_LINE_BYTES) throw new HandOverError(`A line is longer than ${LONGEST_LINE_BYTES} bytes.`);
        } catch (error) {
          end(error instanceof Error ? error : new Error(String(error)));
        }
      });
      own.on("error", () => undefined); // its close follows
      own.once("close", () => end(undefined));
    },
    close,
  };
}

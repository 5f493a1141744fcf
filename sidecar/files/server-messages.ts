import type { MethodReceipt } from "../../proto/gen/agent.ts";
import type { IoFault } from "../../proto/gen/faults.ts";

/** What the sidecar and the server of one of its volumes, a child process, say to each other over Node's IPC channel. */

/** A fault as the server keeps it. */
export interface ServedFault {
  readonly id: string;
  readonly io: IoFault;
  /** What is left of its deadline and lease: from then on operations pass as if it were not there, whoever is dead by then. */
  readonly remainingMs: number;
}

export type ToServer =
  /** First of all. `init` is base64 of what an earlier life and the kernel agreed on; undefined where the kernel has not asked yet. `isShared`: others than this pod may change files. */
  | { readonly do: "serve"; readonly init: string | undefined; readonly isShared: boolean }
  /** The complete set, in the order of their ids. Answered with `ruled` once it is in force and nothing cached hides it, but for a second where requests are held back. */
  | { readonly do: "rule"; readonly version: number; readonly faults: readonly ServedFault[] }
  /** The messages of the oldest `notify` that is awaited are sent. */
  | { readonly do: "note-sent" }
  /** Answered with `counted`. */
  | { readonly do: "count" };

export type FromServer =
  /** Requests are answered. `init` as above, to be kept for a successor. */
  | { readonly is: "serving"; readonly init: string }
  | { readonly is: "ruled"; readonly version: number }
  /**
   * Messages to the kernel, one after the other: each begins with its length, as it does in the FUSE protocol. A server does not send them itself: the kernel
   * may wait for its answers with them, and a process that has to be waited for like this cannot be killed. Where it is awaited, `note-sent` is to follow.
   */
  | { readonly is: "notify"; readonly messages: Uint8Array; readonly isAwaited: boolean }
  | { readonly is: "counted"; readonly faults: readonly Counts[] }
  /** The kernel has taken the mount away; the process ends. */
  | { readonly is: "unmounted" };

export interface Counts {
  readonly id: string;
  readonly methods: readonly MethodReceipt[];
  /** Wall-clock time of the first and last operation that matched, milliseconds since 1970; 0 for none. */
  readonly firstMs: number;
  readonly lastMs: number;
}

/** Descriptors of the server: /dev/fuse of the mount, the folder of the volume, and the memory of requests in flight. */
export const serverDescriptors = { fuse: 3, folder: 4, requests: 5, ipc: 6 } as const;

import type { Counts, ServedFault } from "../server-messages.ts";
import type { SlowSync } from "./session.ts";

export interface ThreadSettings {
  /** Descriptors of /dev/fuse and of the volume's folder. */
  readonly fuse: number;
  readonly folder: number;
  /** Of the memory of requests in flight. */
  readonly requests: number;
  readonly maxDescriptors: number;
  readonly epoch: number;
  readonly init: string | undefined;
  readonly isShared: boolean;
  /** Of the Bell. */
  readonly bell: SharedArrayBuffer;
}

export type ToThread =
  | { readonly do: "rule"; readonly version: number; readonly faults: readonly ServedFault[] }
  | { readonly do: "note-sent" }
  | { readonly do: "count" };

export type FromThread =
  /** Whoever posts a message adds 1 to this eventfd(2) and rings the Bell, or the thread sleeps on. */
  | { readonly is: "listening"; readonly wake: number }
  | { readonly is: "serving"; readonly init: string }
  | ({ readonly is: "sync" } & SlowSync)
  /** This, `ruled` and `counted` are as in `FromServer`. */
  | { readonly is: "notify"; readonly messages: Uint8Array; readonly isAwaited: boolean }
  | { readonly is: "ruled"; readonly version: number }
  | { readonly is: "counted"; readonly faults: readonly Counts[] }
  | { readonly is: "bug"; readonly error: string }
  | { readonly is: "unmounted" };

import { createRequire } from "node:module";
import koffi from "koffi";
import { ThreadMemories } from "./thread-memories.ts";

/** Memory of one of libfuse's threads: what it was called with, and where it waits for the answer. The same object as long as the thread lives. */
export type ThreadMemory = Buffer;

/** Called on Node's main thread while the thread of libfuse waits for the signal. */
export type Handler = (thread: ThreadMemory, operation: number, ...values: never[]) => void;

/** Answers: a result as libfuse wants it (negative errno, or a count), and what else the operation gives back. */
export type Signal = (thread: ThreadMemory, result: number, ...more: readonly unknown[]) => void;

/** The machine code of the npm package fuse-native 2.2.6: libfuse 2.9 with its callbacks in JavaScript. */
export interface FuseNative {
  /** Number of an operation such as `getattr`. */
  codeOf(operation: string): number;
  signalOf(operation: string): Signal;
  /** To be told of threads. */
  readonly threads: ThreadMemories;
  /** Mounts once, and answers from now on with these handlers. Options as of mount.fuse(8). Throws where libfuse cannot mount. */
  mount(path: string, options: string, handlers: Readonly<Record<string, Handler>>): void;
}

/** How many operations the package can number. */
const OPERATIONS = 35;

interface Binding {
  readonly [name: string]: unknown;
  readonly sizeof_fuse_thread_t: number;
  readonly fuse_native_mount: (
    path: string,
    options: string,
    session: Buffer,
    context: object,
    allocate: (bytes: number) => Buffer,
    handlers: readonly Handler[],
    implemented: Uint32Array,
  ) => void;
}

/**
 * Loads what the package has prebuilt, which is for x86_64 with glibc alone, and the libfuse 2.9.9 that came with it. The package's own JavaScript is not used: it drops
 * the flags of `create`, gives the access time for both times of `utimens`, and rounds to milliseconds.
 */
export function loadFuseNative(): FuseNative {
  if (process.platform !== "linux" || process.arch !== "x64")
    throw new Error(
      `Volumes cannot be served through libfuse on ${process.platform}-${process.arch}: fuse-native is built for linux-x64 alone. Run Squall's daemon on this node.`,
    );
  const require = createRequire(import.meta.url);
  let binding: Binding;
  try {
    // First: the machine code asks for libfuse.so.2, which is found then whether or not this machine has one.
    koffi.load(require.resolve("fuse-native/prebuilds/linux-x64/libfuse.so"), { global: true });
    binding = require("fuse-native/prebuilds/linux-x64/node.napi.node");
  } catch (cause) {
    throw new Error("fuse-native 2.2.6 cannot be loaded.", { cause });
  }
  const session = Buffer.alloc(binding.sizeof_fuse_thread_t);
  const threads = new ThreadMemories(session);
  const codeOf = (operation: string): number => {
    const code = binding[`op_${operation}`];
    if (typeof code !== "number") throw new Error(`fuse-native has no operation ${operation}.`);
    return code;
  };
  return {
    threads,
    codeOf,
    signalOf(operation) {
      const signal = binding[`fuse_native_signal_${operation}`];
      if (typeof signal !== "function") throw new Error(`fuse-native has no answer to ${operation}.`);
      return signal as Signal;
    },
    mount(path, options, handlers) {
      const list = Array.from({ length: OPERATIONS }, (): Handler => () => undefined);
      const implemented = new Uint32Array(OPERATIONS);
      for (const [operation, handler] of Object.entries(handlers)) {
        list[codeOf(operation)] = handler;
        implemented[codeOf(operation)] = 1;
      }
      const allocate = (bytes: number): Buffer => threads.allocate(bytes);
      try {
        binding.fuse_native_mount(path, `-o${options}`, session, {}, allocate, list, implemented);
      } catch (cause) {
        throw new Error(`libfuse cannot mount on ${path}; what it said stands above. It needs /dev/fuse and CAP_SYS_ADMIN.`, { cause });
      }
    },
  };
}

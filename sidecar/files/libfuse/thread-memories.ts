import { existsSync } from "node:fs";
import koffi from "koffi";
import { addressOf } from "../libc.ts";
import type { ThreadMemory } from "./fuse-native.ts";

/** Of `fuse_thread_locals_t` of fuse-native 2.2.6 on x86_64: the reference that keeps it, and libuv's handle, which begins with a pointer to it. */
const SELF_AT = 0;
const ASYNC_AT = 232;
/** Of `fuse_thread_t`. */
const ENV_AT = 0;

const LOOKS_EVERY = 32;
/** libuv is done with a handle after its present round. */
const CLOSED_AFTER_MS = 1000;

/**
 * Memory of libfuse's threads. libfuse ends threads that have nothing to do and starts new ones when many operations wait, and fuse-native keeps what it
 * had for each of them for ever; every call would go through all of it.
 */
export class ThreadMemories {
  /** With the number of the thread, once it is known. */
  readonly #tasks = new Map<ThreadMemory, string | undefined>();
  readonly #byTask = new Map<string, ThreadMemory>();
  readonly #session: Buffer;
  readonly #closeHandle: (handle: bigint, callback: null) => void;
  readonly #deleteReference: (env: bigint, reference: bigint) => number;
  #made = 0;

  /** `session`: what fuse-native keeps of the mount. */
  constructor(session: Buffer) {
    this.#session = session;
    const node = koffi.load(null);
    this.#closeHandle = node.func("void uv_close(void*, void*)");
    this.#deleteReference = node.func("int napi_delete_reference(void*, void*)");
  }

  get count(): number {
    return this.#tasks.size;
  }

  /** For a thread that has begun. */
  allocate(bytes: number): ThreadMemory {
    this.#made += 1;
    if (this.#made % LOOKS_EVERY === 0)
      for (const [thread, task] of this.#tasks)
        if (task !== undefined && !existsSync(`/proc/self/task/${task}`)) this.#release(thread, task);
    const memory = Buffer.alloc(bytes);
    this.#tasks.set(memory, undefined);
    return memory;
  }

  /** Tells which thread a memory is of. Whatever had this number before has ended. */
  found(thread: ThreadMemory, task: string): void {
    const before = this.#byTask.get(task);
    if (before !== undefined && before !== thread) this.#release(before, task);
    this.#byTask.set(task, thread);
    this.#tasks.set(thread, task);
  }

  #release(thread: ThreadMemory, task: string): void {
    this.#tasks.delete(thread);
    this.#byTask.delete(task);
    const address = addressOf(thread);
    if (thread.length < ASYNC_AT + 8 || thread.readBigUInt64LE(ASYNC_AT) !== address)
      throw new Error("fuse-native is not of version 2.2.6.");
    this.#closeHandle(address + BigInt(ASYNC_AT), null);
    this.#deleteReference(this.#session.readBigUInt64LE(ENV_AT), thread.readBigUInt64LE(SELF_AT));
    setTimeout(() => void thread.length, CLOSED_AFTER_MS); // libuv still uses it
  }
}

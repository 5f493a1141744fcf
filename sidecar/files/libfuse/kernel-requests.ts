import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { addressOf } from "../libc.ts";
import { op, REQUEST_HEADER } from "../kernel/protocol.ts";
import type { Name } from "../file-operations.ts";
import type { ThreadMemory } from "./fuse-native.ts";
import type { Memory } from "./memory.ts";
import type { ThreadMemories } from "./thread-memories.ts";

/** Of a request that is copied: its header and all of its body that has a fixed length. */
const COPIED = REQUEST_HEADER + 88;
/** Frames of a thread of libfuse that waits take far less. */
const STACK_BYTES = 32_768;
/** Where a thread of libfuse waits: the semaphore of `fuse_thread_locals_t` of fuse-native 2.2.6, by futex(2). Both of x86_64 with glibc. */
const SEMAPHORE_AT = 200;
const SYS_FUTEX = 202;
const LONGEST_REQUEST = 16 * 1024 * 1024;
/** A thread is on its way to the semaphore; that takes microseconds. */
const ATTEMPTS = 200;

const NOT_FOUND = "libfuse's buffer with the kernel's request was not found. Squall knows libfuse 2.9 on x86_64; see ldd of fuse-native.";

/** Where the name of what is made stands in the request, see `struct fuse_mkdir_in` and others of linux/fuse.h. */
const nameAt: ReadonlyMap<number, number> = new Map([
  [op.SYMLINK, REQUEST_HEADER],
  [op.MKDIR, REQUEST_HEADER + 8],
  [op.MKNOD, REQUEST_HEADER + 16],
  [op.CREATE, REQUEST_HEADER + 16],
  [op.LINK, REQUEST_HEADER + 8],
]);

const codes: ReadonlySet<number> = new Set(Object.values(op));

/**
 * The kernel's own requests behind libfuse's calls. fuse-native does not pass on who asks, nor the nanoseconds of times, nor which of a file's times
 * is meant, and libfuse 2.9 asks for attributes alike for LOOKUP, GETATTR and SETATTR. But the thread that waits for our answer still has the request in
 * its buffer, which no other thread writes to: a `struct fuse_buf { size_t size; enum flags; void *mem; … }` (fuse_common.h) of its outermost frame points there for as long as the
 * thread lives. It is looked for once in each thread, by way of /proc: the thread is the one that waits for this very answer.
 */
export class KernelRequests {
  readonly #memory: Memory;
  readonly #threads: ThreadMemories;
  readonly #buffers = new WeakMap<ThreadMemory, bigint>();
  readonly #request = Buffer.alloc(COPIED);
  readonly #requestAddress = addressOf(this.#request);

  constructor(memory: Memory, threads: ThreadMemories) {
    this.#memory = memory;
    this.#threads = threads;
  }

  /** The start of the request that a waiting thread is at, see kernel/protocol.ts. Valid until the next call. Throws where it is not to be found. */
  of(thread: ThreadMemory): Buffer {
    let address = this.#buffers.get(thread);
    if (address === undefined) {
      const found = findRequest(addressOf(thread));
      address = found.address;
      this.#buffers.set(thread, address);
      this.#threads.found(thread, found.task);
    }
    this.#memory.copy(this.#requestAddress, address, COPIED);
    if (!codes.has(this.#request.readUInt32LE(4))) throw new Error(`${NOT_FOUND} There is something else where it was.`);
    return this.#request;
  }

  /** The same where it must be this operation, on this name: whatever else it is, its caller must not be taken for ours. */
  making(thread: ThreadMemory, code: number, name: Name): Buffer {
    const request = this.of(thread);
    const found = request.readUInt32LE(4);
    const start = nameAt.get(code);
    if (found !== code) throw new Error(`${NOT_FOUND} There is operation ${found} instead of ${code}.`);
    // As much of the name as is copied, and the NUL behind it.
    const expected = Buffer.from(`${name}\0`, "latin1").subarray(0, start === undefined ? 0 : COPIED - start);
    if (start !== undefined && request.compare(expected, 0, expected.length, start, start + expected.length) !== 0)
      throw new Error(`${NOT_FOUND} There is operation ${code} on another name.`);
    return request;
  }
}

function findRequest(thread: bigint): { readonly address: bigint; readonly task: string } {
  const waiting = `${SYS_FUTEX} 0x${(thread + BigInt(SEMAPHORE_AT)).toString(16)} `;
  const memory = openSync("/proc/self/mem", "r");
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      for (const task of readdirSync("/proc/self/task")) {
        const pointer = readStackPointer(task, waiting);
        if (pointer === undefined) continue;
        const address = findInStack(pointer, memory);
        if (address !== undefined) return { address, task };
      }
      Atomics.wait(pause, 0, 0, 1);
    }
  } finally {
    closeSync(memory);
  }
  throw new Error(NOT_FOUND);
}

const pause = new Int32Array(new SharedArrayBuffer(4));

/** Of the thread that is in this system call, the one with this first argument, see proc_pid_syscall(5); nothing for others. */
function readStackPointer(task: string, call: string): bigint | undefined {
  try {
    const line = readFileSync(`/proc/self/task/${task}/syscall`, "latin1");
    return line.startsWith(call) ? BigInt(line.trim().split(" ").at(-2) ?? 0) : undefined;
  } catch {
    return undefined; // it ended meanwhile
  }
}

/** From the stack pointer upwards. */
function findInStack(pointer: bigint, memory: number): bigint | undefined {
  const stack = Buffer.alloc(STACK_BYTES);
  const length = readSync(memory, stack, 0, STACK_BYTES, pointer);
  let found: bigint | undefined;
  for (let at = 0; at + 24 <= length; at += 8) {
    const word = stack.readBigUInt64LE(at);
    if (word < REQUEST_HEADER || word > LONGEST_REQUEST || stack.readUInt32LE(at + 8) !== 0) continue;
    // The highest one is the outermost frame's: lower ones may be left from calls that are over.
    const address = stack.readBigUInt64LE(at + 16);
    if (isRequest(address, Number(word), memory)) found = address;
  }
  return found;
}

const header = Buffer.alloc(8);

function isRequest(address: bigint, length: number, memory: number): boolean {
  if (address < 65_536n || address >= 2n ** 47n) return false;
  try {
    if (readSync(memory, header, 0, header.length, address) < header.length) return false;
  } catch {
    return false; // no memory of ours
  }
  return header.readUInt32LE(0) === length && codes.has(header.readUInt32LE(4));
}

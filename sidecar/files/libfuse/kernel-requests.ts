import { closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { addressOf } from "../libc.ts";
import { op, REQUEST_HEADER } from "../kernel/protocol.ts";
import type { ThreadMemory } from "./fuse-native.ts";
import type { Memory } from "./memory.ts";

/** Of a request that is copied: its header and all of its body that has a fixed length. */
const COPIED = REQUEST_HEADER + 88;
/** Frames of a thread of libfuse that waits take far less. */
const STACK_BYTES = 32_768;
const LONGEST_REQUEST = 16 * 1024 * 1024;
/** A thread is on its way to the semaphore; that takes microseconds. */
const ATTEMPTS = 200;

const codes: ReadonlySet<number> = new Set(Object.values(op));

/**
 * The kernel's own requests behind libfuse's calls. fuse-native does not pass on who asks, nor the nanoseconds of times, nor which of a file's times
 * is meant, and libfuse 2.9 asks for attributes alike for LOOKUP, GETATTR and SETATTR. But the thread that waits for our answer still has the request in
 * its buffer: a `struct fuse_buf { size_t size; enum flags; void *mem; … }` (fuse_common.h) of its outermost frame points there for as long as the
 * thread lives. It is looked for once in each thread, by way of /proc.
 */
export class KernelRequests {
  readonly #memory: Memory;
  readonly #buffers = new WeakMap<ThreadMemory, bigint>();
  readonly #request = Buffer.alloc(COPIED);
  readonly #requestAddress = addressOf(this.#request);

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  /** The start of the request that a waiting thread is at, see kernel/protocol.ts. Valid until the next call. Throws where it cannot be found. */
  of(thread: ThreadMemory): Buffer {
    let address = this.#buffers.get(thread);
    if (address === undefined) {
      address = findRequest(addressOf(thread));
      this.#buffers.set(thread, address);
    }
    this.#memory.copy(this.#requestAddress, address, COPIED);
    return this.#request;
  }
}

function findRequest(thread: bigint): bigint {
  const memory = openSync("/proc/self/mem", "r");
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      for (const task of readdirSync("/proc/self/task")) {
        const found = findInStack(readStack(task, memory), thread, memory);
        if (found !== undefined) return found;
      }
      Atomics.wait(pause, 0, 0, 1);
    }
  } finally {
    closeSync(memory);
  }
  throw new Error("libfuse's buffer with the kernel's request was not found. Squall knows libfuse 2.9 on x86_64; see ldd of fuse-native.");
}

const pause = new Int32Array(new SharedArrayBuffer(4));

/** From the stack pointer of a thread that sleeps upwards; nothing for others. See proc_pid_syscall(5). */
function readStack(task: string, memory: number): Buffer {
  const stack = Buffer.alloc(STACK_BYTES);
  try {
    const pointer = readFileSync(`/proc/self/task/${task}/syscall`, "latin1").trim().split(" ").at(-2);
    if (pointer?.startsWith("0x") !== true) return stack.subarray(0, 0);
    return stack.subarray(0, readSync(memory, stack, 0, STACK_BYTES, BigInt(pointer)));
  } catch {
    return stack.subarray(0, 0); // it ended meanwhile
  }
}

function findInStack(stack: Buffer, thread: bigint, memory: number): bigint | undefined {
  let isOurs = false;
  let found: bigint | undefined;
  for (let at = 0; at + 24 <= stack.length; at += 8) {
    const word = stack.readBigUInt64LE(at);
    if (word === thread) isOurs = true;
    if (word < REQUEST_HEADER || word > LONGEST_REQUEST || stack.readUInt32LE(at + 8) !== 0) continue;
    // The highest one is the outermost frame's: lower ones may be left from calls that are over.
    const address = stack.readBigUInt64LE(at + 16);
    if (isRequest(address, Number(word), memory)) found = address;
  }
  return isOurs ? found : undefined;
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

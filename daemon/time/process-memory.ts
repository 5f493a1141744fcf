import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { readStartTicksNow } from "../process.ts";
import { findVdso } from "./vdso-image.ts";

/**
 * The vDSO of one process. The descriptor stays bound to this address space: after the process's end or its next exec(2) reads give nothing and
 * writes fail, whoever has its pid by then. See proc_pid_mem(5).
 */
export class ProcessMemory {
  readonly pid: number;
  /** See readStartTicks. */
  readonly startTicks: string;
  readonly #fd: number;
  readonly #start: number;
  readonly #length: number;

  private constructor(pid: number, startTicks: string, fd: number, vdso: { readonly start: number; readonly end: number }) {
    this.pid = pid;
    this.startTicks = startTicks;
    this.#fd = fd;
    this.#start = vdso.start;
    this.#length = vdso.end - vdso.start;
  }

  /** Undefined for a process that is gone, and for one without a vDSO. Throws what open(2) says when it is forbidden. */
  static open(pid: number): ProcessMemory | undefined {
    let fd: number;
    try {
      fd = openSync(`/proc/${pid}/mem`, "r+");
    } catch (error) {
      if (isErrno(error, "ENOENT") || isErrno(error, "ESRCH")) return undefined;
      throw error;
    }
    // Both are read after the descriptor is bound: where an exec came in between, nothing can be read at that address.
    const startTicks = readStartTicksNow(pid);
    const vdso = findVdso(pid);
    const memory = startTicks !== undefined && vdso !== undefined ? new ProcessMemory(pid, startTicks, fd, vdso) : undefined;
    if (memory?.isAlive === true) return memory;
    closeSync(fd);
    return undefined;
  }

  /** Whether the address space is still there. */
  get isAlive(): boolean {
    return this.readAt(0, 4).equals(ELF);
  }

  /** The whole image; empty when the address space is gone. */
  read(): Buffer {
    return this.readAt(0, this.#length);
  }

  /** From a byte of the image on; fewer bytes, or none, when the address space is gone. */
  readAt(offset: number, length: number): Buffer {
    return readFrom(this.#fd, this.#start + offset, length);
  }

  /** Bytes at an address of the process, such as of a stack; fewer where they are not mapped. */
  readAddress(address: number, length: number): Buffer {
    return readFrom(this.#fd, address, length);
  }

  /** Throws when the kernel forbids it, and when the address space is gone. */
  write(offset: number, bytes: Buffer): void {
    if (writeSync(this.#fd, bytes, 0, bytes.length, this.#start + offset) !== bytes.length)
      throw new Error(`Only a part of ${bytes.length} bytes could be written to the memory of process ${this.pid}.`);
  }

  /** Whether an address lies in these parts of the image. */
  isInside(address: number, ranges: readonly (readonly [from: number, to: number])[]): boolean {
    return ranges.some(([from, to]) => address >= this.#start + from && address < this.#start + to);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

const ELF = Buffer.from("\u007fELF", "latin1");

function readFrom(fd: number, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let count = 0;
  try {
    while (count < length) {
      const read = readSync(fd, bytes, count, length - count, position + count);
      if (read === 0) break;
      count += read;
    }
  } catch (error) {
    // What is not mapped reads as EIO.
    if (!isErrno(error, "EIO")) throw error;
  }
  return bytes.subarray(0, count);
}

const isErrno = (error: unknown, code: string): boolean => error instanceof Error && "code" in error && error.code === code;

import { closeSync, openSync, readFileSync, readSync, writeSync } from "node:fs";
import { ELF_MAGIC } from "./vdso-image.ts";

/** A process for ever: a pid may be another one's by tomorrow, together with the time of its start it may not. See proc_pid_stat(5). */
export interface ProcessIdentity {
  readonly pid: number;
  /** In clock ticks since boot. */
  readonly startTicks: string;
}

/** The memory of one process, held open: it is bound to what the process ran when it was opened, and reads nothing after it ended or called execve(2). */
export interface TargetMemory {
  readonly pid: number;
  /** Address of the vDSO. */
  readonly base: number;
  /** Bytes from `base + offset` on; fewer, or none, where there is no memory. */
  read(offset: number, length: number): Buffer;
  /** As read, into a buffer that the caller keeps; how many bytes it holds then. */
  readInto(offset: number, bytes: Buffer): number;
  /** Writes all, or throws. */
  write(offset: number, bytes: Buffer): void;
  close(): void;
}

export type Opened =
  | { readonly is: "open"; readonly memory: TargetMemory }
  | { readonly is: "gone" }
  | { readonly is: "failed"; readonly reason: string };

/** In the auxiliary vector: where the vDSO begins. See getauxval(3). */
const AT_SYSINFO_EHDR = 33n;

/** Opens the memory of a process for writing. Gone is what ended, and what has this pid now but is another one. */
export function openTarget(identity: ProcessIdentity): Opened {
  const { pid } = identity;
  let fd: number | undefined;
  try {
    fd = openSync(`/proc/${pid}/mem`, "r+");
    const base = readVdsoBase(pid);
    // Last, as the pid may have changed hands while the others were read.
    if (readIdentity(pid)?.startTicks !== identity.startTicks) return abandon(fd, { is: "gone" });
    const memory = memoryOf(pid, fd, base);
    if (base !== 0 && memory.read(0, 4).equals(elfMagic)) return { is: "open", memory };
    // A process without memory ends just now; one of 32 bits and a kernel thread never have a vDSO that we know.
    return abandon(fd, hasEnded(pid) ? { is: "gone" } : { is: "failed", reason: "It has no vDSO of 64 bits." });
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    if (isGone(error)) return { is: "gone" };
    return { is: "failed", reason: explain(error) };
  }
}

/** Undefined for a process that is gone. */
export function readIdentity(pid: number): ProcessIdentity | undefined {
  const fields = readStat(pid);
  const startTicks = fields?.[19];
  return startTicks === undefined ? undefined : { pid, startTicks };
}

/** Whether a process is gone, from what a call on it threw. */
export const isGone = (error: unknown): boolean =>
  error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH");

const elfMagic = Buffer.alloc(4);
elfMagic.writeUInt32BE(ELF_MAGIC);

function memoryOf(pid: number, fd: number, base: number): TargetMemory {
  return {
    pid,
    base,
    read(offset, length) {
      const bytes = Buffer.alloc(length);
      return bytes.subarray(0, readAt(fd, bytes, base + offset));
    },
    readInto: (offset, bytes) => readAt(fd, bytes, base + offset),
    write(offset, bytes) {
      const written = writeAt(fd, bytes, base + offset);
      if (written === 0) throw Object.assign(new Error("The process has ended."), { code: "ESRCH" });
      if (written !== bytes.length) throw new Error(`Only ${written} of ${bytes.length} bytes could be written to its memory.`);
    },
    close: () => closeSync(fd),
  };
}

function readAt(fd: number, bytes: Buffer, address: number): number {
  try {
    return readSync(fd, bytes, 0, bytes.length, address);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EIO") return 0; // no memory there
    throw error;
  }
}

/** 0 for memory that is no more. */
function writeAt(fd: number, bytes: Buffer, address: number): number {
  try {
    return writeSync(fd, bytes, 0, bytes.length, address);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EIO")) throw error;
    const advice = "Start it with proc_mem.force_override=always, see Documentation/admin-guide/kernel-parameters.txt.";
    throw new Error(`This kernel lets nobody write to code of processes through /proc/PID/mem. ${advice}`, { cause: error });
  }
}

/** Address of the vDSO, 0 for none. */
function readVdsoBase(pid: number): number {
  const vector = readFileSync(`/proc/${pid}/auxv`);
  for (let at = 0; at + 16 <= vector.length; at += 16)
    if (vector.readBigUInt64LE(at) === AT_SYSINFO_EHDR) return Number(vector.readBigUInt64LE(at + 8));
  return 0;
}

function readStat(pid: number): readonly string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name of the program, in parentheses, may hold anything.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

const hasEnded = (pid: number): boolean => ["Z", "X", undefined].includes(readStat(pid)?.[0]);

function abandon(fd: number, outcome: Opened): Opened {
  closeSync(fd);
  return outcome;
}

function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const isDenied = "code" in error && (error.code === "EACCES" || error.code === "EPERM");
  return isDenied ? `${error.message}. This process needs the capabilities SYS_PTRACE and DAC_OVERRIDE.` : error.message;
}

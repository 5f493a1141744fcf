import koffi from "koffi";

/**
 * The requests of ptrace(2) that stopping needs, and waitid(2) for their outcome. All calls concern the thread that they are made on: the kernel lets
 * every stopped thread go when that one ends, whatever it died of.
 */
export interface Ptrace {
  /** Begins to trace a thread, without stopping it. */
  seize(thread: number): Attempt;
  /** Asks a traced thread to stop. It runs no more of its own code from here on until it is let go. */
  interrupt(thread: number): Attempt;
  /**
   * What became of a traced thread, without waiting. A stop is left to be found again; an end is taken note of for good: the kernel tells it to the
   * parent only then. (A child of this very process that ends while it is traced is thus lost to whoever else waits for it here.)
   */
  look(thread: number): Look;
  /** Lets a stopped thread go, and hands it the signal that it was about to get; 0 for none. */
  detach(thread: number, signal: number): Attempt;
  /** Where a stopped thread is in its own code: program counter and stack pointer. Undefined for one that is not stopped. */
  readPosition(thread: number): Position | undefined;
}

export interface Position {
  readonly counter: number;
  readonly stack: number;
}

export type Attempt = "done" | "gone" | "denied";
export type Look =
  | { readonly is: "running" }
  | { readonly is: "ended" }
  /** The signal that the thread was about to get when it stopped; 0 for none. */
  | { readonly is: "stopped"; readonly signal: number };

const requests = { getRegisters: 12, detach: 17, seize: 0x4206, interrupt: 0x4207 } as const;
/** Of struct user_regs_struct in sys/user.h. */
const REGISTERS = { bytes: 27 * 8, counterAt: 16 * 8, stackAt: 19 * 8 } as const;
/** Of siginfo_t; see waitid(2). */
const SIGNAL_INFO = { bytes: 128, codeAt: 8, pidAt: 16, statusAt: 24 } as const;
const BY_PID = 1;
const WITHOUT_WAITING = 1;
const FOR_STOPS = 2;
const FOR_ENDS = 4;
const LEAVE_IT = 0x0100_0000;
const ANY_THREAD = 0x4000_0000;
const ENDED: ReadonlySet<number> = new Set([1, 2, 3]);

/** Binds the functions from the C library that this process already runs on. */
export function openPtrace(): Ptrace {
  const library = koffi.load(null);
  const ptrace: (request: number, thread: number, address: bigint, argument: Buffer | bigint) => number = library.func(
    "intptr_t ptrace(intptr_t, intptr_t, intptr_t, void*)",
  );
  const waitid: (kind: number, id: number, found: Buffer, options: number) => number = library.func(
    "int waitid(int, uint32_t, void*, int)",
  );
  const { EPERM } = koffi.os.errno;
  const ask = (request: number, thread: number, argument: Buffer | bigint = 0n): Attempt => {
    if (ptrace(request, thread, 0n, argument) >= 0) return "done";
    return koffi.errno() === EPERM ? "denied" : "gone";
  };
  const registers = Buffer.alloc(REGISTERS.bytes);
  const found = Buffer.alloc(SIGNAL_INFO.bytes);
  return {
    seize: (thread) => ask(requests.seize, thread),
    interrupt: (thread) => ask(requests.interrupt, thread),
    look(thread) {
      found.fill(0);
      // Left as it is, so that a signal which the thread was about to get still reaches it if this process dies before the detach.
      if (waitid(BY_PID, thread, found, WITHOUT_WAITING | FOR_STOPS | FOR_ENDS | LEAVE_IT | ANY_THREAD) < 0) return { is: "ended" };
      if (found.readInt32LE(SIGNAL_INFO.pidAt) === 0) return { is: "running" };
      if (ENDED.has(found.readInt32LE(SIGNAL_INFO.codeAt))) {
        waitid(BY_PID, thread, found, WITHOUT_WAITING | FOR_ENDS | ANY_THREAD);
        return { is: "ended" };
      }
      const status = found.readInt32LE(SIGNAL_INFO.statusAt);
      return { is: "stopped", signal: status < 0x100 ? status : 0 };
    },
    detach: (thread, signal) => ask(requests.detach, thread, BigInt(signal)),
    readPosition(thread) {
      if (ask(requests.getRegisters, thread, registers) !== "done") return undefined;
      return {
        counter: Number(registers.readBigUInt64LE(REGISTERS.counterAt)),
        stack: Number(registers.readBigUInt64LE(REGISTERS.stackAt)),
      };
    },
  };
}

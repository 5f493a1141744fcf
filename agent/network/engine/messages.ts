import type { EngineRules, FaultCounters } from "./rules.ts";

/** What the engine's thread is started with. */
export interface EngineSettings {
  /** Bits on packets that our own rules let pass. */
  readonly mark: { readonly value: number; readonly mask: number };
  /** Bound of the memory that held packets take. */
  readonly maxHeldBytes: number;
}

export type Order =
  | { readonly do: "set-rules"; readonly rules: EngineRules }
  | { readonly do: "read-counters" }
  | { readonly do: "ping" }
  | { readonly do: "clear" }
  | { readonly do: "close" };

/** Main thread to engine. */
export interface Request {
  readonly number: number;
  readonly order: Order;
}

export interface Counters {
  readonly faults: readonly (readonly [id: string, counters: FaultCounters])[];
  readonly totals: EngineTotals;
}

/** Counts over all faults, for logs, tests and measurements. */
export interface EngineTotals {
  readonly received: number;
  readonly passed: number;
  readonly overflow: number;
  readonly tooLarge: number;
  readonly fragmented: number;
  readonly notUnderstood: number;
  readonly sent: number;
  readonly refused: number;
  readonly lastErrno: number;
  readonly held: number;
  readonly allocatedBytes: number;
}

/** Engine to main thread. */
export type Answer =
  | {
      readonly is: "ready";
      /** Writing 8 bytes (a 1) to it wakes the engine. */
      readonly wakeFd: number;
      /** So that the main thread can give queues up when the engine no longer can. */
      readonly queueFd: number;
      /** All descriptors of the engine, these two among them: the main thread closes them once the thread is gone. */
      readonly allFds: readonly number[];
      /** False when the process may not raise the thread's priority (SYS_NICE): delays are then a little less even. */
      readonly isPrioritised: boolean;
    }
  | { readonly is: "done"; readonly number: number; readonly counters?: Counters | undefined }
  | { readonly is: "failed"; readonly number: number; readonly message: string };

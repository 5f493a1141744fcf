import type { Fault, Passport, Receipt, ResolvedName } from "../proto/gen/agent.ts";
import type { Refusal } from "./plan.ts";

/** What moves an agent's targets from one set of faults to another. The agent knows what is wanted and for how long; how it is done is known here alone. */
export interface Carrier {
  /** What can be done here. */
  readonly passport: Passport;
  /** Whether receipts are known without a look at the kernel, and so can be told as soon as faults are in force. */
  readonly hasReceiptsAtHand: boolean;
  /** Whether nothing is in force. */
  readonly isIdle: boolean;
  /** Makes ready what these faults need and what cannot be had at once; within 2 s, ready or not. */
  prepare(faults: readonly Fault[]): Promise<void>;
  /**
   * Moves the targets to exactly these faults. Resolves with those that are not in force, and why, and with those of earlier calls that could not
   * be taken back. Rejects with NotTakenBackError when nobody can tell what is still in force, with any other error when everything was taken back.
   * One call at a time.
   */
  converge(faults: readonly Fault[], moment: Moment): Promise<readonly Refusal[]>;
  /** Calls back when the faults are to be visited again: something that they depend on changed. */
  onChange(callback: () => void): void;
  /** What is to be said of a fault in force that has not the effect it should have; undefined where there is nothing. */
  remarkOf(fault: Fault): Remark | undefined;
  /** Host names of a fault with their present addresses. */
  resolvedOf(fault: Fault): readonly ResolvedName[];
  /** What these faults compile to, as JSON, for people who look into the target. */
  explain(faults: readonly Fault[]): unknown;
  /** What each of these faults did so far. Read it right before faults are replaced: what they counted is gone with them. */
  readReceipts(faultIds: readonly string[]): Promise<ReadonlyMap<string, Receipt>>;
  close(): Promise<void>;
}

export interface Moment {
  /** What is left of a fault's lease and deadline when it is asked, in milliseconds. A process may stand still between any two lines. */
  readonly remainingMs: (fault: Fault) => number;
  /** To be called before something is replaced that has counted for receipts. */
  readonly beforeReplacing: () => Promise<void>;
}

/** Something of earlier faults may still be in force. */
export class NotTakenBackError extends Error {
  override readonly name = "NotTakenBackError";

  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** A CamelCase reason and one sentence for people. */
export interface Remark {
  readonly reason: string;
  readonly message: string;
}

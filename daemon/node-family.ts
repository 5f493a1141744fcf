import type { Remark } from "../agent/carrier.ts";
import type { Refusal } from "../agent/plan.ts";
import type { Fault, Receipt } from "../proto/gen/agent.ts";
import type { FoundContainer } from "./runtime/container-runtime.ts";

/** A fault on a container of this node, and the container as it runs now. */
export interface PlacedFault {
  readonly fault: Fault;
  readonly container: FoundContainer;
}

/** Faults of one family on containers of this node. One call at a time. */
export interface NodeFamily {
  readonly name: "time" | "stress";
  /** Why they cannot be carried out on this node; undefined where they can. */
  readonly missing: string | undefined;
  /**
   * Moves all containers to exactly these faults, each for no longer than it has left. Resolves with those that are not in force, and with those
   * of earlier calls that could not be taken back. Also renews what holds their ends outside of this process.
   */
  converge(faults: readonly PlacedFault[], remainingMs: (fault: Fault) => number): Promise<readonly Refusal[]>;
  /** Whether there is anything to look after. */
  readonly isBusy: boolean;
  /** Looks after faults in force: processes that were started since, what could not be cleaned up at once. Called every second while it is busy. */
  look(): Promise<void>;
  remarkOf(faultId: string): Remark | undefined;
  /** What a fault did so far; undefined for one that is not known. */
  receiptOf(faultId: string): Promise<Partial<Receipt> | undefined>;
  /** Takes back whatever an earlier life left on this node. */
  recover(): Promise<void>;
}

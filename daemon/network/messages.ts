import type { KnownFacts } from "../../agent/network/facts.ts";
import type { Refusal } from "../../agent/plan.ts";
import type { Fault, Receipt, ResolvedName } from "../../proto/gen/agent.ts";

/** What the daemon and its processes inside pods say to each other, over the channel that Node makes between parent and child. */

/** A fault and when it ends at the latest, monotonic milliseconds, which all processes of a node share. */
export interface TimedFault {
  readonly fault: Fault;
  readonly untilMs: number;
}

export type Order =
  /** Takes back what an earlier life left, by the journal at this path and by name, and finds out what can be done. Comes first, once. */
  | { readonly do: "start"; readonly journal: string; readonly known: KnownFacts; readonly resolvConf: string }
  /** Removes everything that carries our name. Comes alone. */
  | { readonly do: "sweep" }
  /** Moves the pod to exactly these faults. */
  | { readonly do: "converge"; readonly faults: readonly TimedFault[] }
  /** What the faults of the last move did. */
  | { readonly do: "read-receipts" };

export type Answer =
  | { readonly is: "done" }
  | { readonly is: "converged"; readonly converged: Converged }
  | { readonly is: "receipts"; readonly receipts: readonly (readonly [faultId: string, receipt: Receipt])[] }
  /** Unless it was taken back, something of earlier orders may still be in force. */
  | { readonly is: "failed"; readonly isTakenBack: boolean; readonly message: string };

export interface Converged {
  readonly refusals: readonly Refusal[];
  /** Host names of each fault with their present addresses. */
  readonly resolved: readonly (readonly [faultId: string, names: readonly ResolvedName[]])[];
}

export interface ToChild {
  readonly number: number;
  readonly order: Order;
}

export type ToParent =
  | { readonly number: number; readonly answer: Answer }
  /** Something that the faults depend on changed: they are to be sent again. */
  | { readonly is: "changed" };

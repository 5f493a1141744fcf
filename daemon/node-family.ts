import type { Remark } from "../agent/carrier.ts";
import type { Refusal } from "../agent/plan.ts";
import type { Fault, Receipt, ResolvedName } from "../proto/gen/agent.ts";
import type { FoundContainer } from "./runtime/container-runtime.ts";

/** A fault of this node, and what it is on as that runs now: a container, or the sandbox of a pod, which goes by an empty name. */
export interface PlacedFault {
  readonly fault: Fault;
  readonly container: Place;
}

/** One that was started again has another id. */
export type Place = Omit<FoundContainer, "startedAtMs">;

/** What families have in common whose faults are on containers and depend on nothing but these. */
export const onContainers = { actsOn: "containers", onChange: () => undefined, resolvedOf: () => [] } as const;

/** Faults of one family on containers or pods of this node. One call at a time. */
export interface NodeFamily {
  readonly name: "network" | "time" | "stress";
  readonly actsOn: "containers" | "pods";
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
  /** Calls back when its faults are to be sent again: something that they depend on changed. */
  onChange(callback: () => void): void;
  remarkOf(faultId: string): Remark | undefined;
  /** Host names of a fault with their present addresses. */
  resolvedOf(faultId: string): readonly ResolvedName[];
  /** What a fault did so far; undefined for one that is not known. */
  receiptOf(faultId: string): Promise<Partial<Receipt> | undefined>;
  /** Takes back whatever an earlier life left on this node. */
  recover(): Promise<void>;
}

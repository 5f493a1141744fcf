import type { Fault, Passport, Receipt, ResolvedName } from "../proto/gen/agent.ts";
import type { Command, Plan } from "./plan.ts";

/** A fault and how long it may still last: the lesser of what is left of its lease and of its deadline. */
export interface FaultInForce {
  readonly fault: Fault;
  readonly remainingMs: number;
}

/** A family of faults that is carried out by plans, see planned-carrier.ts. */
export interface FaultFamily {
  readonly name: "network";
  /** Pure: what all these faults, combined, mean for the kernel here. Same input, same plan, same order. */
  plan(faults: readonly Fault[]): Plan;
  /**
   * The command that sets the kernel-held clock of these faults to what is left; undefined for none. It is run after the step of a
   * plan that says `thenClock`, and at every renewal of a lease.
   */
  planClock(faults: readonly FaultInForce[]): Command | undefined;
  /** An engine step will come soon: has the engine started, which takes long. Takes no time itself, and fails in runEngine alone. */
  warmUpEngine(): void;
  /** Has the engine carry out the rules of an engine step; undefined ends that. Rejects when it cannot run here. */
  runEngine(rules: unknown): Promise<void>;
  /** Makes ready what plans for these faults need and what cannot be had at once; within 2 s, ready or not. */
  prepare(faults: readonly Fault[]): Promise<void>;
  /** Called when something that plans depend on changed. */
  onChange(callback: () => void): void;
  /** Host names of a fault with their present addresses. */
  resolvedOf(fault: Fault): readonly ResolvedName[];
  /** What can be done here. */
  readonly passport: Passport;
  /** What these faults compile to, as JSON, for people who look into the pod. */
  explain(faults: readonly Fault[]): unknown;
  /** Called when the engine ended by itself. */
  onEngineDeath(callback: (reason: Error) => void): void;
  /** What each of these faults did so far. Read it right before rules are replaced: what they counted is gone with them. */
  readReceipts(faultIds: readonly string[]): Promise<ReadonlyMap<string, Receipt>>;
  /** Removes everything that carries our name in this network namespace, whoever made it. */
  sweep(): Promise<void>;
  close(): Promise<void>;
}

import type { EngineRules, EngineShape } from "../../agent/network/engine/rules.ts";

/** What one fault does to packets, with its id. */
export type EngineFault = { readonly id: string } & Partial<EngineShape>;

const NEVER = { share: 0, correlation: 0 } as const;

export const engineShape = (own: Partial<EngineShape> = {}): EngineShape => ({
  latencyUs: 0,
  jitterUs: 0,
  latencyCorrelation: 0,
  reorder: undefined,
  loss: NEVER,
  duplicate: NEVER,
  corrupt: NEVER,
  rateBitsPerSecond: 0,
  queueLimitPackets: 1000,
  bandwidth: undefined,
  ...own,
});

/** One class, whose packets pass all these faults. */
export function engineRules(
  faults: readonly EngineFault[],
  { queue = 7, at = "egress" }: { readonly queue?: number; readonly at?: "egress" | "ingress" } = {},
): EngineRules {
  return {
    rules: faults.map(({ id, ...own }) => ({ key: id, faultId: id, shape: engineShape(own) })),
    classes: [{ queue, at, rules: faults.map(({ id }) => id) }],
  };
}

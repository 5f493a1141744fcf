import type { FaultInForce } from "../family.ts";
import type { Command } from "../plan.ts";
import type { Family } from "./families.ts";
import { gate, gateOf } from "./names.ts";

/** hash:net holds no /0; two halves are everything. */
const EVERYTHING = { ipv4: ["0.0.0.0/1", "128.0.0.0/1"], ipv6: ["::/1", "8000::/1"] } as const;
/** Largest time-out of ipset, 24 days. */
const LONGEST_S = 2_147_483;

/**
 * The kernel-held clock: entries of the gate sets live for what is left of each fault, and of the longest one for the jumps. Whole seconds,
 * rounded up, as ipset counts; the agent itself is exact, and this clock is for when there is no agent. See ipset(8), timeout.
 */
export function planClock(faults: readonly FaultInForce[], families: readonly Family[]): Command | undefined {
  if (faults.length === 0) return undefined;
  const seconds = (ms: number): number => Math.min(Math.max(Math.ceil(ms / 1000), 1), LONGEST_S);
  const longest = Math.max(...faults.map(({ remainingMs }) => remainingMs));
  const lines = families.flatMap((family) => {
    const gates: readonly (readonly [string, number])[] = [
      [gate(family), seconds(longest)],
      ...faults.map(({ fault, remainingMs }) => [gateOf(fault.id, family), seconds(remainingMs)] as const),
    ];
    return gates.flatMap(([name, timeout]) => EVERYTHING[family].map((network) => `add ${name} ${network} timeout ${timeout}`));
  });
  return { argv: ["ipset", "-exist", "restore"], stdin: `${lines.join("\n")}\n` };
}

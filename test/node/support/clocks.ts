import assert from "node:assert/strict";
import * as z from "zod";
import type { TargetProgram } from "./target-program.ts";

/** How far each clock of a process is off, at least and at most, in nanoseconds, as clocks.c reports it. */
export type Readings = ReadonlyMap<string, readonly [lowest: bigint, highest: bigint]>;

const schema = z.record(z.string(), z.union([z.number(), z.tuple([z.coerce.bigint(), z.coerce.bigint()])]));

/** Asks clocks.c; `whom` is itself, a child, or a child that runs the program anew. */
export async function readClocks(program: TargetProgram, whom: "read" | "fork" | "exec" = "read"): Promise<Readings> {
  const { bad, ...clocks } = schema.parse(JSON.parse(await program.ask(whom)));
  assert.equal(bad, 0, "values with nanoseconds out of range, or a wrong time zone");
  return new Map(Object.entries(clocks).flatMap(([name, range]) => (typeof range === "number" ? [] : [[name, range] as const])));
}

/** Fails unless exactly the named clocks are off by so much, and all others by nothing. */
export function expectOffsets(readings: Readings, offsetsNs: Readonly<Record<string, bigint>>): void {
  for (const [name, [lowest, highest]] of readings) {
    const wanted = offsetsNs[name] ?? 0n;
    assert.ok(lowest <= wanted && wanted <= highest, `clock ${name} is off by ${lowest} to ${highest} ns and not by ${wanted}`);
  }
}

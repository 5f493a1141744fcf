import { join } from "node:path";
import * as z from "zod";
import { runInUml } from "../../lab/uml.ts";

/** One figure, as it came out with each engine. */
export interface EngineFigures {
  readonly netem: number;
  readonly nfqueue: number;
}

/** How far apart the engines may be: a share. */
export const TOLERANCE = 0.1;

const figures = z.record(z.string(), z.object({ netem: z.number(), nfqueue: z.number() }));

/** Measures the same faults with both engines, on one kernel that has both. Throws with what was printed when that fails. */
export async function compareEngines(): Promise<Readonly<Record<string, EngineFigures>>> {
  const root = join(import.meta.dirname, "../..");
  const { exitCode, output } = await runInUml([process.execPath, "test/uml/engines-process.ts", String(TOLERANCE)], {
    cwd: root,
    timeoutMs: 400_000,
  });
  if (exitCode !== 0) throw new Error(output);
  return figures.parse(JSON.parse(output.trim().split("\n").at(-1) ?? ""));
}

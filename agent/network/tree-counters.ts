import * as z from "zod/mini";

const disciplines = z.array(z.object({ handle: z._default(z.string(), "0:"), drops: z._default(z.number(), 0) }));

/** Packets that queueing disciplines lost, by handle, from what `tc -s -j qdisc show` printed. One that is on several devices counts them all. */
export function parseTreeDrops(text: string): ReadonlyMap<string, number> {
  const drops = new Map<string, number>();
  for (const one of disciplines.parse(JSON.parse(text || "[]"))) drops.set(one.handle, (drops.get(one.handle) ?? 0) + one.drops);
  return drops;
}

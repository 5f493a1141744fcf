import * as z from "zod";
import { isJsonObject } from "../json.ts";
import { latency, percentText, rate } from "./scalars.ts";

/** The traffic-control block of NetworkChaos: what happens to packets. Inline in the spec, as Chaos Mesh has it. */

const INT32_MAX = 2 ** 31 - 1;
const count32 = (min: number) => z.number().int().min(min).max(INT32_MAX);
const correlation = (): z.ZodDefault<z.ZodString> => percentText().default("0");

const reorder = z
  .strictObject({
    reorder: percentText().describe("Percentage of packets that are sent at once."),
    correlation: correlation().describe("How much a decision depends on the one before, in percent."),
    gap: z.number().int().min(0).max(INT32_MAX).default(0).describe("Packets between two that are reordered."),
  })
  .describe("Sends some packets at once while the others are delayed.");

/** Chaos Mesh takes an empty text for the default of these. */
const HAVE_DEFAULTS = ["jitter", "correlation"];

/** A block of a spec without its empty texts that stand for defaults, at any depth: what Chaos Mesh's dashboard writes. */
export function withoutEmptyDefaults(block: unknown): unknown {
  if (!isJsonObject(block)) return block;
  return Object.fromEntries(
    Object.entries(block).flatMap(([key, value]) =>
      HAVE_DEFAULTS.includes(key) && value === "" ? [] : [[key, withoutEmptyDefaults(value)]],
    ),
  );
}

export const trafficControl = {
  delay: z
    .strictObject({
      latency: latency().describe("Added latency, one number and one unit, such as 200ms."),
      jitter: latency().default("0ms").describe("The latency varies by this much to either side."),
      correlation: correlation().describe("How much a packet's latency depends on that of the one before, in percent."),
      reorder: reorder.optional(),
    })
    .optional()
    .describe("Adds latency."),
  loss: z
    .strictObject({ loss: percentText().describe("Percentage of packets that are lost."), correlation: correlation() })
    .optional()
    .describe("Loses packets, without an error at the sender."),
  duplicate: z
    .strictObject({ duplicate: percentText().describe("Percentage of packets that are sent twice."), correlation: correlation() })
    .optional()
    .describe("Sends packets twice."),
  corrupt: z
    .strictObject({ corrupt: percentText().describe("Percentage of packets in which a bit is flipped."), correlation: correlation() })
    .optional()
    .describe("Flips bits in packets."),
  bandwidth: z
    .strictObject({
      rate: rate().describe("Rate, such as 1mbps (a megabyte a second) or 1mbit."),
      limit: count32(1).describe("Bytes that may wait."),
      buffer: count32(1).describe("Size of the bucket in bytes."),
      peakrate: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional().describe("Largest rate at which the bucket empties."),
      minburst: count32(0).optional().describe("Size of the peak bucket in bytes."),
    })
    .optional()
    .describe("Limits the bandwidth with a token bucket."),
  rate: z
    .strictObject({ rate: rate().describe("Rate, such as 1mbit.") })
    .optional()
    .describe("Limits the rate."),
} as const;

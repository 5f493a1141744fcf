import * as z from "zod";

export const MOST_ENTRIES = 1_000;

export type MapProblem = (key: string, value: string) => string | undefined;

/** A map of texts whose every entry `problem` finds nothing wrong with. */
export function textMap(problem: MapProblem, { max = 1024 }: { readonly max?: number } = {}) {
  return z
    .record(z.string(), z.string().max(max))
    .meta({ maxProperties: MOST_ENTRIES })
    .check((context) => {
      for (const [key, value] of Object.entries(context.value).slice(0, MOST_ENTRIES)) {
        const message = typeof value === "string" ? problem(key, value) : undefined;
        if (message !== undefined) context.issues.push({ code: "custom", message, input: value, path: [key], continue: true });
      }
      if (Object.keys(context.value).length > MOST_ENTRIES) {
        context.issues.push({ code: "custom", message: `has more than ${MOST_ENTRIES} entries.`, input: undefined, continue: true });
      }
    });
}

import * as z from "zod";

export const MOST_ENTRIES = 1_000;

interface MapOptions<Value> {
  /** Most entries. */
  readonly max?: number;
  /** What is wrong with an entry; undefined for a sound one. */
  readonly problem: (key: string, value: Value) => string | undefined;
}

/** A map of values of that schema, whose every entry `problem` finds nothing wrong with. */
export function mapOf<S extends z.ZodType>(value: S, { max = MOST_ENTRIES, problem }: MapOptions<z.output<S>>) {
  return z
    .record(z.string(), value)
    .meta({ maxProperties: max })
    .check((context) => {
      const entries = Object.entries(context.value);
      for (const [key, found] of entries.slice(0, max)) {
        const message = problem(key, found);
        if (message !== undefined) context.issues.push({ code: "custom", message, input: found, path: [key], continue: true });
      }
      if (entries.length > max) {
        context.issues.push({ code: "custom", message: `has more than ${max} entries.`, input: undefined, continue: true });
      }
    });
}

export type TextProblem = MapOptions<string>["problem"];

/** A map of texts of at most `longest` characters. */
export const textMap = (problem: TextProblem, { longest = 1024 }: { readonly longest?: number } = {}) =>
  mapOf(z.string().max(longest), { problem });
